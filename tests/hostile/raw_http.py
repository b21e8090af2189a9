"""HTTP on bare sockets: what is sent goes out byte for byte, with no library in between that repairs it."""

from __future__ import annotations

import json
import select
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

PATIENCE_S = 25.0
"""A service that has neither answered nor hung up by then has frozen: it gives clients a few seconds."""
_PIECE = 1 << 16
_SMALL_BUFFER = 4_096


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Address(NamedTuple):
    host: str
    port: int


def post(path: str, body: bytes | str | object, *headers: str, kind: str | None = "application/json") -> bytes:
    """Return a POST. A body that is not bytes or `Json` is written as JSON; ``kind`` is its content type."""
    data = body if isinstance(body, bytes) else (body if isinstance(body, Json) else json.dumps(body)).encode()
    types = [] if kind is None else [f"Content-Type: {kind}"]
    return request(f"POST {path} HTTP/1.1", "Host: 127.0.0.1", *types, f"Content-Length: {len(data)}", *headers, body=data)


def get(path: str, *headers: str) -> bytes:
    return request(f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *headers)


def request(line: str, *headers: str, body: bytes = b"") -> bytes:
    """Return a request with these lines and no others."""
    return "\r\n".join([line, *headers, "", ""]).encode("utf-8", "surrogateescape") + body


def chunked(path: str, *pieces: bytes, headers: Iterable[str] = ()) -> bytes:
    """Return the head of a POST whose body comes in chunks, followed by these bytes, which need not be chunks."""
    return request(f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", "Transfer-Encoding: chunked", *headers, body=b"".join(pieces))


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Json(str):
    """JSON text, put into a body as it stands."""


def obj(**parts: Any) -> Json:
    """Return an object as JSON text; values that are `Json` are put in as they stand."""
    return Json("{" + ",".join(f"{json.dumps(name)}:{part if isinstance(part, Json) else json.dumps(part)}" for name, part in parts.items()) + "}")


def connect(address: Address, *, source: str | None = None, small_buffer: bool = False) -> socket.socket:
    """Open a connection, from another address of this machine if ``source`` names one. A small buffer leaves large answers with the service."""
    connection = socket.socket()
    try:
        if small_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
        if source is not None:
            connection.bind((source, 0))
        connection.settimeout(PATIENCE_S)
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


def reset(connection: socket.socket) -> None:
    """Hang up without a farewell: the service gets RST instead of FIN."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def exchange(connection: socket.socket, data: bytes | Iterator[bytes], *, answers: int = 1, head: bool = False, within_s: float = PATIENCE_S) -> list[Answer]:
    """Send, and read at the same time, until so many answers are complete or the service hangs up; return the complete answers.

    Args:
        connection: where to send.
        data: what to send; an iterator is asked for more when its last piece has gone.
        answers: how many answers to wait for.
        head: whether answers have no body, as to HEAD.
        within_s: seconds that it may take.

    Raises:
        TimeoutError: the service did neither.
    """
    pieces = iter([data]) if isinstance(data, bytes) else data
    waiting, arrived, complete = memoryview(b""), bytearray(), list[Answer]()
    connection.setblocking(False)
    poll = select.poll()  # select() cannot watch descriptors above 1,023
    deadline, sending = time.monotonic() + within_s, True
    while len(complete) < answers:
        if time.monotonic() > deadline:
            raise TimeoutError(f"neither answered nor closed in {within_s:g} s; so far: {[answer.status for answer in complete]}, {bytes(arrived[:200])!r}")
        if sending and not waiting:
            waiting = memoryview(next(pieces, b""))
            sending = bool(waiting)
        poll.register(connection, select.POLLIN | (select.POLLOUT if sending else 0))
        events = sum(event for _, event in poll.poll(500))
        if events & ~select.POLLOUT:
            try:
                piece = connection.recv(_PIECE)
            except ConnectionError:
                piece = b""
            arrived += piece
            while (found := _first_answer(arrived, head=head, closed=not piece)) is not None:
                complete.append(found)
            if not piece:
                break
        if events & select.POLLOUT:
            try:
                waiting = waiting[connection.send(waiting[: _PIECE * 4]) :]
            except BlockingIOError:
                pass
            except ConnectionError:
                sending, waiting = False, memoryview(b"")  # an answer may have come before
    return complete


def _first_answer(arrived: bytearray, *, head: bool, closed: bool) -> Answer | None:
    """Take the first complete answer from the bytes; None if there is none. Interim answers (1xx) are dropped."""
    while True:
        end = arrived.find(b"\r\n\r\n")
        if end < 0:
            return None
        first, *lines = bytes(arrived[:end]).decode("latin-1").split("\r\n")
        version, status, *_ = first.split(" ")
        assert version.startswith("HTTP/1."), first
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        start = end + 4
        if status.startswith("1") and status != "101":
            del arrived[:start]
            continue
        if head or status in ("204", "304", "101"):
            length = 0
        elif "content-length" in headers:
            length = int(headers["content-length"])
        elif headers.get("transfer-encoding") == "chunked":
            return _chunked_answer(arrived, start, int(status), headers)
        elif closed:
            length = len(arrived) - start
        else:
            return None
        if len(arrived) < start + length:
            return None
        answer = Answer(int(status), headers, bytes(arrived[start : start + length]))
        del arrived[: start + length]
        return answer


def _chunked_answer(arrived: bytearray, at: int, status: int, headers: dict[str, str]) -> Answer | None:
    body = bytearray()
    while (end := arrived.find(b"\r\n", at)) >= 0:
        size = int(arrived[at:end], 16)
        at = end + 2 + size + 2
        if len(arrived) < at:
            return None
        body += arrived[end + 2 : end + 2 + size]
        if not size:
            del arrived[:at]
            return Answer(status, headers, bytes(body))
    return None
