"""Measures the event loop's lag: under load a request waits in the loop before the service sees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

EVERY_S = 0.02
_WEIGHT = 0.2  # of the latest measurement


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
            due = loop.time() + EVERY_S
            await asyncio.sleep(EVERY_S)
            self.seconds += _WEIGHT * (loop.time() - due - self.seconds)
