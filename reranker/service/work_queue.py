"""Work off the event loop: a bounded number at once, a bounded number waiting, each within its request's time."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from reranker.errors import BusyError, LateError
from reranker.service.deadline import seconds_left

T = TypeVar("T")


class WorkQueue:
    """Threads that work for requests.

    Args:
        name: of its threads.
        concurrency: how many works run at once.
        max_waiting: how many more may wait.
        on_refused: told "busy" or "late" for each work that is refused.
    """

    def __init__(self, name: str, *, concurrency: int, max_waiting: int, on_refused: Callable[[str], None]) -> None:
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix=name)
        self._concurrency = concurrency
        self._most = concurrency + max_waiting
        self._on_refused = on_refused
        self._pending = 0
        self._lock = threading.Lock()

    def waiting(self) -> int:
        """Return how many works have not begun."""
        return max(0, self._pending - self._concurrency)

    async def run(self, work: Callable[[], T]) -> T:
        """Do ``work`` in a thread, in the caller's context, and return what it returns.

        Raises:
            BusyError: too much is waiting already; nothing was begun.
            LateError: the request's time is up. Work that has not begun is dropped; a thread that has begun finishes for nobody.
        """
        with self._lock:
            if self._pending >= self._most:
                self._on_refused("busy")
                raise BusyError(f"The service is busy: {self._most} requests are in work or waiting.", hint="Try again shortly, or send less at once.")
            self._pending += 1
        try:
            future = self._pool.submit(contextvars.copy_context().run, work)
        except BaseException:
            self._done(None)
            raise
        future.add_done_callback(self._done)
        answer = asyncio.wrap_future(future)
        left = seconds_left()
        try:
            done, _ = await asyncio.wait({answer}, timeout=None if left is None else max(0.0, left))
        except asyncio.CancelledError:
            answer.cancel()
            raise
        if not done:
            answer.cancel()  # one that has not begun would keep later ones waiting for nothing
            self._on_refused("late")
            raise LateError(
                "The request's time was up before its work was done.", hint="Send fewer documents or try again; --timeout-ms of `reranker serve` sets the time."
            )
        return answer.result()

    def _done(self, _: Future[Any] | None) -> None:
        with self._lock:
            self._pending -= 1

    def close(self) -> None:
        """Let work in progress finish."""
        self._pool.shutdown()
