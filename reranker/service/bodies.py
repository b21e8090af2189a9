"""Reads request bodies: type and size are checked first, and memory is reserved before anything is read."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from contextvars import ContextVar

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reranker.errors import OverloadError, RerankerError
from reranker.service.limits import Limits
from reranker.service.memory import COST_OF_A_BYTE, BodyMemory, Reservation, cost_of_body, current_reservation
from reranker.service.metrics import Metrics
from reranker.service.problems import answer_to

body_length: ContextVar[int] = ContextVar("body_length", default=0)
"""Bytes of the present request's body."""

_FIRST_BYTES = 32 * 1024
"""Bytes of a body that must arrive before memory is reserved for all of it. Without an announced length the reservation doubles as more arrive."""
_FAST_BYTES_PER_S = 1024 * 1024
_HEAD_START_S = 0.5
_DRAIN_S = 3.0


class ReadBody:
    """ASGI middleware: reads the whole body and hands it on in one piece.

    It answers 415 if the content type is not JSON; 413 if the body is too large, as announced, as arrived, or for its number of values;
    408 if it is too slow; 503 if no memory is free for it by the request's deadline.
    """

    def __init__(self, app: ASGIApp, limits: Limits, memory: BodyMemory, metrics: Metrics) -> None:
        self.app = app
        self.memory = memory
        self.metrics = metrics
        self._first = min(COST_OF_A_BYTE * _FIRST_BYTES, memory.small)
        self.max_bytes = min(limits.max_body_bytes, memory.largest // COST_OF_A_BYTE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        complete = False

        async def arriving() -> Message:
            nonlocal complete
            message = await receive()
            complete = not message.get("more_body", False)
            return message

        reservation: Reservation | None = None
        try:
            try:
                length, body = self._announced(scope), b""
                if length != 0:
                    whole = self._first if length is None else COST_OF_A_BYTE * length
                    reservation = await self.memory.reserve(min(whole, self._first))
                    body = await self._read(arriving, length, reservation)
            except (HTTPException, RerankerError) as error:
                if isinstance(error, OverloadError):
                    self.metrics.refused.labels(error.reason).inc()
                if not complete:
                    await drain(scope, arriving, self.max_bytes)
                await answer_to(error)(scope, receive, send)
                return
            tokens = current_reservation.set(reservation), body_length.set(len(body))
            handed_on = _once(body, receive)
            del body  # the app drops it once it is parsed
            try:
                await self.app(scope, handed_on, send)
            finally:
                current_reservation.reset(tokens[0])
                body_length.reset(tokens[1])
        finally:
            if reservation is not None:
                reservation.release()

    def _announced(self, scope: Scope) -> int | None:
        """Return the body's announced length, None if it announces none.

        Raises:
            HTTPException: 413 or 415.
        """
        headers = Headers(scope=scope)
        announced, content_type = headers.get("content-length", "0"), headers.get("content-type")
        length = None if "transfer-encoding" in headers else int(announced[:16]) if announced.isdecimal() else 0
        if length is not None and length > self.max_bytes:
            raise self._too_large()
        if (length != 0 or content_type is not None) and scope["method"] not in ("GET", "HEAD") and not _is_json(content_type):
            raise HTTPException(415, "The body's content type is not JSON.")
        return length

    async def _read(self, receive: Receive, length: int | None, reservation: Reservation) -> bytes:
        pieces: list[bytes] = []
        arrived, more = 0, True
        began = time.monotonic()
        while more:
            message = await self._next(receive, reservation, arrived, began)
            if message["type"] == "http.disconnect":
                raise HTTPException(400, "The client closed the connection.")
            more = message.get("more_body", False)
            pieces.append(message.get("body", b""))
            arrived += len(pieces[-1])
            if arrived > self.max_bytes:
                raise self._too_large()
            if COST_OF_A_BYTE * arrived >= reservation.cost and more:
                if length is None:
                    self.memory.extend(reservation, COST_OF_A_BYTE * min(2 * arrived, self.max_bytes))
                elif COST_OF_A_BYTE * length > reservation.cost:
                    await self.memory.enlarge(reservation, COST_OF_A_BYTE * length)
                    began = time.monotonic() - arrived / _FAST_BYTES_PER_S
        body = b"".join(pieces)
        cost = cost_of_body(body)
        if cost > self.memory.largest:
            raise HTTPException(413, "The request body holds too many JSON values.")
        self.memory.extend(reservation, cost)
        return body

    async def _next(self, receive: Receive, reservation: Reservation, arrived: int, began: float) -> Message:
        """Return the next piece. While somebody waits for memory, a body that has more than a little must arrive fast; otherwise it raises 408."""
        if reservation.cost <= self._first:
            return await receive()
        while True:
            if self.memory.somebody_waits and arrived < _FAST_BYTES_PER_S * (time.monotonic() - began - _HEAD_START_S):
                raise HTTPException(408, "The request body arrived too slowly, and others waited for its memory.")
            with suppress(TimeoutError):
                return await asyncio.wait_for(receive(), _HEAD_START_S)

    def _too_large(self) -> HTTPException:
        return HTTPException(413, f"The request body is larger than {self.max_bytes:,} bytes.")


async def drain(scope: Scope, receive: Receive, max_bytes: int) -> None:
    """Read a refused body of at most so many bytes, for some seconds: a client that still sends when the connection closes sees no answer."""
    headers = Headers(scope=scope)
    announced = headers.get("content-length", "0")
    if "expect" in headers or not announced.isdecimal() or int(announced[:16]) > max_bytes:
        return
    arrived, more = 0, True
    with suppress(HTTPException, TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            while more and arrived <= max_bytes:
                message = await receive()
                arrived += len(message.get("body", b""))
                more = message.get("more_body", False)


def _is_json(content_type: str | None) -> bool:
    kind = (content_type or "").partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def _once(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that gives the body once, and then what the server says."""
    left = [body]

    async def handed_on() -> Message:
        return {"type": "http.request", "body": left.pop(), "more_body": False} if left else await receive()

    return handed_on
