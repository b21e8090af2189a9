"""A request's deadline, which counts from its first byte, and the event loop's lag, which is lost before the service sees a request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from math import ceil

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reranker.service.limits import MIN_BYTES_PER_S, OPEN, Limits
from reranker.service.metrics import Metrics
from reranker.service.problems import problem

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)
_LAG_EVERY_S = 0.02
_LAG_WEIGHT = 0.2  # of the latest measurement


def seconds_left() -> float | None:
    """Return the seconds until the current request's deadline, negative after it; None without a deadline."""
    deadline = _deadline.get()
    return None if deadline is None else deadline - time.monotonic()


class LoopLag:
    """``seconds``: how late the loop runs scheduled work, a moving mean over about a tenth of a second."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def both_ways_s(self) -> float:
        """Return the seconds that a request loses before the service sees it and before its answer is sent."""
        return 2 * self.seconds

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Measure while the block runs."""
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_EVERY_S
            await asyncio.sleep(_LAG_EVERY_S)
            self.seconds += _LAG_WEIGHT * (loop.time() - due - self.seconds)


class Deadline:
    """ASGI middleware: sets each request's deadline. A body that has not arrived by then, or arrives too slowly, raises 408.

    If the event loop lags so far that no answer would be in time, it answers 503 before it reads anything.
    """

    def __init__(self, app: ASGIApp, limits: Limits, lag: LoopLag, metrics: Metrics) -> None:
        self.app = app
        self.timeout_ms = limits.timeout_ms
        self.client_timeout_s = limits.client_timeout_s
        self.lag = lag
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        behind_s = self.lag.both_ways_s()
        if behind_s > self.timeout_ms / 1e3 and scope["path"] not in OPEN:
            self.metrics.refused.labels("no time").inc()
            message = "The service is too busy to answer in time."
            await problem(503, message, "Try again shortly, or send less at once.", {"Retry-After": str(ceil(behind_s))})(scope, receive, send)
            return
        deadline = time.monotonic() + self.timeout_ms / 1e3
        arriving, arrived, waited_s = True, 0, 0.0

        async def in_time() -> Message:
            nonlocal arriving, arrived, waited_s
            if not arriving:
                return await receive()
            asked = time.monotonic()
            left_s = min(deadline - asked, self.client_timeout_s + arrived / MIN_BYTES_PER_S - waited_s)
            try:
                message = await asyncio.wait_for(receive(), max(0.0, left_s))
            except TimeoutError:
                late = time.monotonic() >= deadline
                why = f"did not arrive within {self.timeout_ms:g} ms" if late else f"arrived at less than {MIN_BYTES_PER_S:,} bytes a second"
                raise HTTPException(408, f"The request body {why}.") from None
            finally:
                waited_s += time.monotonic() - asked
            arrived += len(message.get("body", b""))
            arriving = message.get("more_body", False)
            return message

        token = _deadline.set(deadline)
        try:
            await self.app(scope, in_time, send)
        finally:
            _deadline.reset(token)
