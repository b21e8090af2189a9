"""Limits of one request, and of all requests together, and the middleware that refuses larger bodies."""

from __future__ import annotations

from typing import NamedTuple

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reranker.errors import InputError
from reranker.service.models import MAX_DOCUMENTS
from reranker.service.problems import TOO_LARGE_HINT, problem


class Limits(NamedTuple):
    """The service's limits.

    ``max_body_bytes``: larger request bodies get 413.
    ``max_documents``: rerank requests with more documents get 422.
    ``concurrency``: how many scorings, and how many searches, run at once.
    ``max_waiting``: how many further scorings, and searches, may wait. Further scorings get 503 at once. Further searches get BM25
    order; the same two limits hold for these, and those beyond get 503.
    ``timeout_ms``: time-out of a request. Later it gets 503, or 408 if its body has not arrived.
    """

    max_body_bytes: int = 32 * 1024 * 1024
    max_documents: int = MAX_DOCUMENTS
    concurrency: int = 4
    max_waiting: int = 100
    timeout_ms: float = 30_000

    def check_documents(self, count: int) -> None:
        """Raise InputError if one request has too many documents."""
        if count > self.max_documents:
            raise InputError(f"The request has {count:,} documents; at most {self.max_documents:,} are allowed.", hint="Split them over several requests.")


DEFAULT_LIMITS = Limits()


class BodyLimit:
    """ASGI middleware: answers 413 if the announced length is over the limit, or as soon as more has arrived."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > self.max_bytes:
            await problem(413, self._message(), TOO_LARGE_HINT)(scope, receive, send)
            return
        arrived = 0

        async def counted() -> Message:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > self.max_bytes:
                raise HTTPException(413, self._message(), headers={"connection": "close"})
            return message

        await self.app(scope, counted, send)

    def _message(self) -> str:
        return f"The request body is larger than {self.max_bytes:,} bytes."
