"""The server's HTTP protocol, with limits that only the parser can check."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_PIPELINED = 16
"""Requests that may wait on a connection for the answer to the one before."""
_CHUNKS, _BYTES_PER_CHUNK = 1_000, 8


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol. Too many pipelined requests, or too many small chunks, get HTTP 400, and the connection is closed."""

    def on_message_begin(self) -> None:
        self._chunks = self._body_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED:
            raise ValueError("too many pipelined requests")
        super().on_headers_complete()

    def on_chunk_header(self) -> None:
        self._chunks += 1
        if self._chunks > _CHUNKS and self._chunks * _BYTES_PER_CHUNK > self._body_bytes:
            raise ValueError("chunks too small: reading them takes a hundred times longer than sending them")

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def connection_lost(self, exc: Exception | None) -> None:
        self.pipeline.clear()
        super().connection_lost(exc)

    def _unsupported_upgrade_warning(self) -> None:
        """Ignore an upgrade; the request is answered as it is."""
