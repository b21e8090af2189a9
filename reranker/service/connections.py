"""Limits of connections: how many there are, and how long each may wait for its client."""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import time
from collections import Counter
from collections.abc import Collection
from contextvars import ContextVar
from typing import cast

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reranker.service.limits import MIN_BYTES_PER_S, Limits
from reranker.service.problems import answer_to

log = logging.getLogger(__name__)

MAX_HEADER_BYTES = 64 * 1024
MAX_HEADERS = 100
_READ_AT_ONCE = 64 * 1024
_SWEEP_EVERY_S = 0.5
_OTHER_FILES = 256
"""File descriptors left for files, OpenSearch and the event loop."""
_LARGE_ANSWER = 64 * 1024
_TOO_LARGE_HEADER = "The request's header is too large."
_connection: ContextVar[Connection | None] = ContextVar("connection", default=None)


class Connections:
    """The open connections of a service. Used in its event loop only.

    Args:
        limits: how many there may be, and the clients' time-out.
        max_unsent: bytes of all answers that clients have not read. Beyond them the client that has read nothing for longest is dropped.
    """

    def __init__(self, limits: Limits, max_unsent: int) -> None:
        open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.most = limits.max_connections if open_files == resource.RLIM_INFINITY else max(1, min(limits.max_connections, open_files - _OTHER_FILES))
        self.closed: Counter[str] = Counter()
        """How many the service closed or refused, by reason."""
        self._most_per_client = limits.max_connections_per_client
        self._timeout_s = limits.client_timeout_s
        self._max_unsent = max_unsent
        self._open: set[Connection] = set()
        self._per_client: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def unsent(self) -> int:
        """Return the bytes of all answers that clients have not read."""
        return sum(connection.unsent() for connection in self._open)

    def admit(self, client: str) -> bool:
        """Say whether a client may open a connection. If there are too many, the one that has waited longest for its client is closed."""
        if self._per_client[client] >= self._most_per_client:
            return self._close_longest_waiting([connection for connection in self._open if connection.client == client], "too many of one client")
        return len(self._open) < self.most or self._close_longest_waiting(self._open, "too many")

    def make_room_for_answer(self, size: int) -> None:
        """Drop clients that do not read their answers until one of ``size`` bytes fits, as far as possible."""
        while size <= self._max_unsent < self.unsent() + size:
            if not self._close_longest_waiting([connection for connection in self._open if connection.unsent()], "answers unread"):
                return

    def close_one(self) -> None:
        """Close the connection that has waited longest for its client, if any waits."""
        self._close_longest_waiting(self._open, "too many")

    def add(self, connection: Connection) -> None:
        self._open.add(connection)
        self._per_client[connection.client] += 1

    def remove(self, connection: Connection) -> None:
        if connection in self._open:
            self._open.remove(connection)
            self._per_client[connection.client] -= 1
            if not self._per_client[connection.client]:
                del self._per_client[connection.client]

    def _close_longest_waiting(self, among: Collection[Connection], reason: str) -> bool:
        waiting = [(since, connection) for connection in among if (since := connection.waiting_since()) is not None]
        if not waiting:
            self.closed["refused"] += 1
            return False
        _, longest = min(waiting, key=lambda pair: pair[0])
        self._close(longest, reason)
        return True

    def _close(self, connection: Connection, reason: str) -> None:
        self.closed[reason] += 1
        self.remove(connection)
        connection.abort()

    async def sweep(self) -> None:
        """Close connections whose clients are too slow, until cancelled."""
        while True:
            await asyncio.sleep(_SWEEP_EVERY_S)
            for connection in list(self._open):
                reason = connection.too_slow(self._timeout_s)
                if reason is not None:
                    self._close(connection, reason)


class Connection(asyncio.Protocol):
    """Passes a connection's events on to the server's protocol, and keeps what the limits need.

    Args:
        http: the server's protocol.
        connections: where it is counted.
        client: the client's address.
    """

    def __init__(self, http: asyncio.Protocol, connections: Connections, client: str) -> None:
        self.client = client
        self._http = http
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._aborted = False
        self._in_request = False
        self._waits_since: float | None = time.monotonic()  # for a header or a body
        self._header_bytes = 0
        self._unsent = 0  # at the latest sweep
        self._unread_since: float | None = None

    # --- the transport's events -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.max_size = _READ_AT_ONCE  # type: ignore[attr-defined]  # so that one read keeps the loop for a short time
        self._http.connection_made(transport)
        if self._aborted:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._header_bytes > MAX_HEADER_BYTES * (4 if self._in_request else 1):  # in a request, a body may be read ahead of the app
            self._refuse()
            return
        self._header_bytes += len(data)
        token = _connection.set(self)  # the server starts the app in this context
        try:
            self._http.data_received(data)
        finally:
            _connection.reset(token)

    def eof_received(self) -> bool | None:
        return self._http.eof_received()

    def pause_writing(self) -> None:
        self._http.pause_writing()

    def resume_writing(self) -> None:
        self._http.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.remove(self)
        self._http.connection_lost(exc)

    # --- the app's events -------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A request's header is complete."""
        self._in_request, self._waits_since, self._header_bytes = True, None, 0

    def end(self) -> None:
        """The answer was handed to the transport."""
        self._in_request, self._waits_since, self._header_bytes = False, time.monotonic(), 0

    async def receive(self, receive: Receive) -> Message:
        """Return the next piece of a body."""
        self._waits_since, self._header_bytes = time.monotonic(), 0
        try:
            return await receive()
        finally:
            self._waits_since = None

    # --- limits -----------------------------------------------------------------------------------------------------

    def unsent(self) -> int:
        """Return the bytes of answers that the client has not read."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def waiting_since(self) -> float | None:
        """Return since when it has been waiting for its client, in seconds of ``time.monotonic``; None if it is working."""
        return (self._unread_since or time.monotonic()) if self.unsent() else self._waits_since

    def too_slow(self, timeout_s: float) -> str | None:
        """Return why it should be closed, or None. To be called regularly. Slow bodies have their own time-out."""
        now, unsent = time.monotonic(), self.unsent()
        if unsent == 0:
            self._unread_since = None
        elif self._unread_since is None or unsent <= self._unsent - MIN_BYTES_PER_S * _SWEEP_EVERY_S:
            self._unread_since = now
        self._unsent = unsent
        if self._unread_since is not None and now - self._unread_since > timeout_s:
            return "answer unread"
        if not self._in_request and unsent == 0 and self._waits_since is not None and now - self._waits_since > timeout_s:
            return "no request"
        return None

    def abort(self) -> None:
        """Close the connection at once; unsent answers are dropped."""
        self._aborted = True
        if self._transport is not None:
            self._transport.abort()

    def _refuse(self) -> None:
        self._connections.closed["header too large"] += 1
        body = json.dumps({"error": {"message": _TOO_LARGE_HEADER, "hint": None}, "detail": _TOO_LARGE_HEADER}).encode()
        assert self._transport is not None
        header = f"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self._transport.write(header.encode() + body)
        self._transport.close()


class TrackConnection:
    """ASGI middleware, the outermost: tells a request's connection what it waits for, and answers 431 to a header that is too large.

    A connection is closed after an answer that came before the body's end.
    """

    def __init__(self, app: ASGIApp, connections: Connections) -> None:
        self.app = app
        self.connections = connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = _connection.get()
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        headers = Headers(scope=scope)
        complete = "transfer-encoding" not in headers and headers.get("content-length", "0") == "0"

        async def receive_from_client() -> Message:
            nonlocal complete
            message = await (receive() if connection is None else connection.receive(receive))
            complete = complete or not message.get("more_body", False)
            return message

        async def send_to_client(message: Message) -> None:
            if message["type"] == "http.response.start" and not complete:  # what is left of the body must not be read as a request
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            size = len(message.get("body", b""))
            if size >= _LARGE_ANSWER:
                self.connections.make_room_for_answer(size)
            await send(message)

        if connection is not None:
            connection.begin()
        try:
            header_bytes = len(scope["raw_path"]) + len(scope["query_string"]) + sum(len(name) + len(value) for name, value in scope["headers"])
            if len(scope["headers"]) > MAX_HEADERS or header_bytes > MAX_HEADER_BYTES:
                await answer_to(HTTPException(431, _TOO_LARGE_HEADER))(scope, receive_from_client, send_to_client)
            else:
                await self.app(scope, receive_from_client, send_to_client)
        finally:
            if connection is not None:
                connection.end()
