"""Work off the event loop: a bounded number at once, a bounded number waiting, each within its request's time."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from reranker.errors import BusyError, LateError, NoTimeError
from reranker.pace import Pace
from reranker.service.deadline import seconds_left

T = TypeVar("T")


class WorkQueue:
    """Threads that work for requests.

    Args:
        name: of its threads.
        concurrency: how many works run at once.
        max_waiting: how many more may wait.
    """

    def __init__(self, name: str, *, concurrency: int, max_waiting: int) -> None:
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix=name)
        self._concurrency = concurrency
        self._most = concurrency + max_waiting
        self._pending = 0
        self._waiting_size = self._running_size = 0
        self._pace = Pace()
        self._lock = threading.Lock()

    def waiting(self) -> int:
        """Return how many works have not begun."""
        return max(0, self._pending - self._concurrency)

    def expected_wait_s(self) -> float:
        """Return how many seconds a work would wait for a thread, by how long the latest took; 0 where a thread is free."""
        with self._lock:
            if self._pending < self._concurrency:
                return 0.0
            ahead = self._waiting_size + self._running_size / 2  # those at work are half done on average
        return self._pace.expected_s(ahead) / self._concurrency

    async def run(
        self,
        work: Callable[[], T],
        *,
        size: int = 1,
        takes_s: float = 0.0,
        within_s: float | None = None,
        begin_within_s: float | None = None,
        patience_s: Callable[[], float | None] | None = None,
    ) -> T:
        """Do ``work`` in a thread, in the caller's context, and return what it returns.

        Args:
            work: what to do.
            size: in the unit that its time grows with, the same for all works of the queue.
            takes_s: what it is expected to take once it has begun.
            within_s: in which it must be done, where that is less than is left of the request's time.
            begin_within_s: in which it must have begun; else it is taken back.
            patience_s: tells, when asked again and again, in how many seconds the caller gives up; None for not yet.

        Raises:
            BusyError: too much is waiting already; nothing was begun.
            NoTimeError: it is not expected to be done in time, or had to wait too long; nothing was begun.
            OutOfPatience: the caller gave up.
            LateError: the request's time is up. After both, work that has not begun is dropped; a thread that has begun finishes for nobody.
        """
        times = [seconds for seconds in (seconds_left(), within_s) if seconds is not None]
        wait_s = self.expected_wait_s()
        if times and wait_s + takes_s > min(times):
            raise _no_time(wait_s)
        entry = _Entry(size)
        with self._lock:
            if self._pending >= self._most:
                raise BusyError(f"The service is busy: {self._most} requests are in work or waiting.", hint="Try again shortly, or send less at once.")
            self._pending += 1
            self._waiting_size += size
        try:
            future = self._pool.submit(contextvars.copy_context().run, self._begin, work, entry)
        except BaseException:
            self._done(entry)
            raise
        future.add_done_callback(lambda _: self._done(entry))
        answer = asyncio.wrap_future(future)
        try:
            if begin_within_s is not None:
                done, _ = await asyncio.wait({answer}, timeout=max(0.0, begin_within_s))
                if not done and future.cancel():
                    raise _no_time(self.expected_wait_s())
            while not answer.done():
                left = seconds_left()
                patience = None if patience_s is None else patience_s()
                if patience is not None and patience <= 0:
                    raise OutOfPatience
                limits = [max(0.0, seconds) for seconds in (left, patience) if seconds is not None]
                done, _ = await asyncio.wait({answer}, timeout=min(limits, default=None))
                if not done and left is not None and left <= min(limits):
                    raise LateError(
                        "The request's time was up before its work was done.",
                        hint="Send fewer documents or try again; --timeout-ms of `reranker serve` sets the time.",
                    )
            return answer.result()
        finally:
            answer.cancel()  # one that has not begun would keep later ones waiting for nothing; nothing changes where it is done

    def _begin(self, work: Callable[[], T], entry: _Entry) -> T:
        with self._lock:
            entry.begun = True
            self._waiting_size -= entry.size
            self._running_size += entry.size
        began = time.perf_counter()
        try:
            return work()
        finally:
            self._pace.observe(time.perf_counter() - began, entry.size)

    def _done(self, entry: _Entry) -> None:
        with self._lock:
            self._pending -= 1
            if entry.begun:
                self._running_size -= entry.size
            else:
                self._waiting_size -= entry.size

    def close(self) -> None:
        """Let work in progress finish."""
        self._pool.shutdown()


class OutOfPatience(Exception):
    """The caller of ``WorkQueue.run`` gave up."""


class _Entry:
    def __init__(self, size: int) -> None:
        self.size = size
        self.begun = False


def _no_time(wait_s: float) -> NoTimeError:
    return NoTimeError("The service is busy: the request would not be done in its time.", hint="Try again shortly, or send less at once.", after_s=wait_s)
