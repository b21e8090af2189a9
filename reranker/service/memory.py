"""The memory for request bodies: who has reserved how much, and who waits; and how freed memory goes back to the system."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar

from reranker.errors import BusyError
from reranker.memory import return_free_memory
from reranker.service.deadline import seconds_left

COST_OF_A_BYTE = 6
"""Bytes of memory per byte of a request's body: the body, its text, the values made from it, and the answer."""
_TRIM_EVERY_S = 5.0
_COST_OF_A_VALUE = 72
"""Bytes of memory per value of a body, such as an empty list."""


def cost_of_body(body: bytes) -> int:
    """Return the bytes of memory that a JSON body needs, estimated from its length and from its commas and brackets, strings included."""
    values = len(body) - len(body.translate(None, b",[{"))
    return max(COST_OF_A_BYTE * len(body), 2 * len(body) + _COST_OF_A_VALUE * values)


class BodyMemory:
    """Reserves bytes for requests. Those that do not fit wait in their order; used in one event loop.

    A quarter is kept for small requests, so that these never wait for large ones.

    Args:
        total: bytes.
    """

    def __init__(self, total: int) -> None:
        self.largest = total * 3 // 4
        """The most that one request may reserve, and all large ones together."""
        self.used = 0
        self._total = total
        self.small = total // 64
        """A request that reserves more is a large one."""
        self._large_used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def somebody_waits(self) -> bool:
        return bool(self._waiting)

    def is_large(self, cost: int) -> bool:
        """Return whether a request of this cost may have to wait for large ones."""
        return cost > self.small

    async def reserve(self, cost: int) -> Reservation:
        """Reserve bytes, at most ``largest``; wait for them at most half of the time until the request's deadline.

        Raises:
            BusyError: they are not free by then.
        """
        await self._wait_for(cost)
        return Reservation(self, cost)

    async def enlarge(self, reservation: Reservation, cost: int) -> None:
        """Exchange a small reservation for a larger one, as ``reserve`` does."""
        await self._wait_for(cost)
        self._give_back(reservation.cost)
        reservation.cost = cost

    async def _wait_for(self, cost: int) -> None:
        if self._take(cost):
            return
        granted = asyncio.get_running_loop().create_future()
        entry = (cost, granted)
        self._waiting.append(entry)
        try:
            left_s = seconds_left()
            await asyncio.wait_for(granted, None if left_s is None else max(0.0, left_s / 2))
        except BaseException as error:
            with suppress(ValueError):
                self._waiting.remove(entry)
            self._give_back(cost if granted.done() and not granted.cancelled() else 0)  # those behind it may fit now
            if isinstance(error, TimeoutError):
                raise _no_memory() from None
            raise

    def extend(self, reservation: Reservation, cost: int) -> None:
        """Raise a reservation to ``cost`` bytes without waiting: a request that waits with memory in hand could block all others.

        Raises:
            BusyError: they are not free.
        """
        more = cost - reservation.cost
        if more > 0:
            if not self._fits(more, large=self.is_large(cost)):
                raise _no_memory()
            self._count(reservation.cost, -1)
            self._count(cost, 1)
            reservation.cost = cost

    def _take(self, cost: int) -> bool:
        large = cost > self.small
        if (large and any(waiting > self.small for waiting, _ in self._waiting)) or not self._fits(cost, large=large):
            return False
        self._count(cost, 1)
        return True

    def _fits(self, cost: int, *, large: bool) -> bool:
        return self.used + cost <= self._total and (not large or self._large_used + cost <= self.largest)

    def _count(self, cost: int, sign: int) -> None:
        self.used += sign * cost
        if self.is_large(cost):
            self._large_used += sign * cost

    def _give_back(self, cost: int) -> None:
        """Take bytes back, and grant what fits now to those who wait."""
        self._count(cost, -1)
        large_waits = False
        for entry in list(self._waiting):
            size, granted = entry
            if granted.done():  # it has given up, and is about to leave
                continue
            large = self.is_large(size)
            if (large and large_waits) or not self._fits(size, large=large):
                large_waits |= large
                continue
            self._waiting.remove(entry)
            self._count(size, 1)
            granted.set_result(None)


class Reservation:
    """Bytes that a request holds until it and all work for it have ended."""

    def __init__(self, memory: BodyMemory, cost: int) -> None:
        self.cost = cost
        self._memory = memory
        self._holders = 1
        self._loop = asyncio.get_running_loop()

    def hold(self) -> Callable[[], None]:
        """Count a further holder, such as a task that the request does not wait for; return what releases it, from any thread."""
        self._holders += 1

        def release() -> None:
            with suppress(RuntimeError):  # the loop is closed: the service has stopped
                self._loop.call_soon_threadsafe(self.release)

        return release

    def release(self) -> None:
        """End one holder; the last one gives the bytes back. To be called in the event loop."""
        self._holders -= 1
        if not self._holders:
            self._memory._give_back(self.cost)


current_reservation: ContextVar[Reservation | None] = ContextVar("current_reservation", default=None)


def _no_memory() -> BusyError:
    return BusyError("The service is busy: its memory for requests is taken.", hint="Try again shortly, or send smaller requests.")


async def trim() -> None:
    """Return freed memory to the system every few seconds, until cancelled. It takes milliseconds, in a thread."""
    while True:
        await asyncio.sleep(_TRIM_EVERY_S)
        await asyncio.to_thread(return_free_memory)
