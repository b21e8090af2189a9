"""A thread pool for requests: bounded running and waiting tasks, each with its request's deadline."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from reranker.errors import BusyError, LateError, NoTimeError
from reranker.service.deadline import seconds_left
from reranker.service.memory import current_reservation
from reranker.time_estimate import TimeEstimate

T = TypeVar("T")


class WorkQueue:
    """A bounded thread pool.

    Args:
        name: prefix of the threads' names.
        concurrency: how many tasks run at once.
        max_waiting: how many more may wait.
    """

    def __init__(self, name: str, *, concurrency: int, max_waiting: int) -> None:
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix=name)
        self._concurrency = concurrency
        self._most = concurrency + max_waiting
        self._pending = 0
        self._waiting_size = self._running_size = 0
        self._time = TimeEstimate()
        self._lock = threading.Lock()

    def waiting(self) -> int:
        """Return how many tasks have not begun."""
        return max(0, self._pending - self._concurrency)

    def expected_wait_s(self) -> float:
        """Return how many seconds a new task would wait for a thread, estimated from the latest tasks; 0 if a thread is free."""
        with self._lock:
            if self._pending < self._concurrency:
                return 0.0
            ahead = self._waiting_size + self._running_size / 2  # those at work are half done on average
        return self._time.expected_s(ahead) / self._concurrency

    async def run(
        self,
        work: Callable[[], T],
        *,
        size: int = 1,
        takes_s: float = 0.0,
        within_s: float | None = None,
        begin_within_s: float | None = None,
        give_up_in_s: Callable[[], float | None] | None = None,
    ) -> T:
        """Run ``work`` in a thread, in the caller's context, and return its result.

        Args:
            work: the task.
            size: the task's size, in the unit that its time grows with; the same unit for all tasks of the queue.
            takes_s: expected seconds of the task, waiting not included.
            within_s: seconds in which it must end, if fewer than until the request's deadline.
            begin_within_s: seconds in which it must begin; otherwise it is cancelled.
            give_up_in_s: returns in how many seconds the caller gives up, or None for not yet; called repeatedly.

        Raises:
            BusyError: too many tasks are waiting; this one was not begun.
            NoTimeError: it is not expected to end in time, or waited too long; it was not begun.
            CallerGaveUp: the caller gave up.
            LateError: the deadline has passed. After both, a task that has not begun is dropped; the result of a running one is ignored.
        """
        times = [seconds for seconds in (seconds_left(), within_s) if seconds is not None]
        wait_s = self.expected_wait_s()
        if times and wait_s + takes_s > min(times):
            raise _no_time(wait_s)
        entry = _Entry(size)
        with self._lock:
            if self._pending >= self._most:
                raise BusyError(f"The service is busy: {self._most} requests are running or waiting.", hint="Try again shortly, or send less at once.")
            self._pending += 1
            self._waiting_size += size
        try:
            future = self._pool.submit(contextvars.copy_context().run, self._begin, work, entry)
        except BaseException:
            self._done(entry)
            raise
        future.add_done_callback(lambda _: self._done(entry))
        if (reservation := current_reservation.get()) is not None:  # the task may outlive its request
            release = reservation.hold()
            future.add_done_callback(lambda _: release())
        answer = asyncio.wrap_future(future)
        try:
            if begin_within_s is not None:
                done, _ = await asyncio.wait({answer}, timeout=max(0.0, begin_within_s))
                if not done and future.cancel():
                    raise _no_time(self.expected_wait_s())
            while not answer.done():
                left = seconds_left()
                give_up_in = None if give_up_in_s is None else give_up_in_s()
                if give_up_in is not None and give_up_in <= 0:
                    raise CallerGaveUp
                limits = [max(0.0, seconds) for seconds in (left, give_up_in) if seconds is not None]
                done, _ = await asyncio.wait({answer}, timeout=min(limits, default=None))
                if not done and left is not None and left <= min(limits):
                    raise LateError(
                        "The request's time-out passed before it was done.",
                        hint="Send fewer documents or try again; --timeout-ms of `reranker serve` sets the time-out.",
                    )
            return answer.result()
        finally:
            answer.cancel()  # frees the place of a task that has not begun

    def _begin(self, work: Callable[[], T], entry: _Entry) -> T:
        with self._lock:
            entry.begun = True
            self._waiting_size -= entry.size
            self._running_size += entry.size
        began = time.perf_counter()
        try:
            return work()
        finally:
            self._time.observe(time.perf_counter() - began, entry.size)

    def _done(self, entry: _Entry) -> None:
        with self._lock:
            self._pending -= 1
            if entry.begun:
                self._running_size -= entry.size
            else:
                self._waiting_size -= entry.size

    def close(self) -> None:
        """Wait for running tasks."""
        self._pool.shutdown()


class CallerGaveUp(Exception):
    """The caller of ``WorkQueue.run`` gave up."""


class _Entry:
    def __init__(self, size: int) -> None:
        self.size = size
        self.begun = False


def _no_time(wait_s: float) -> NoTimeError:
    return NoTimeError("The service is busy: the request would not be done before its time-out.", hint="Try again later, or send less at once.", after_s=wait_s)
