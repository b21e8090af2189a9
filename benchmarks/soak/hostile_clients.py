"""Hostile clients beside good traffic; runs in its own process, until its standard input is closed.

Prints, as JSON, how often each kind of client did its work, and the outcomes: HTTP statuses, "closed" by the service, or "held" until
the client hung up itself.
"""

from __future__ import annotations

import json
import random
import select
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress

from tests.hostile.body_cases import CASES as BODY_CASES
from tests.hostile.case import CLOSED, one_exchange
from tests.hostile.pipeline_cases import CASES as PIPELINE_CASES
from tests.hostile.protocol_cases import CASES as PROTOCOL_CASES
from tests.hostile.raw_http import Address, Answer, connect, get, post, request

IDLE, SLOW, UNREAD = 600, 50, 10
HELD_S = 10.0
LARGE_EVERY_S, BROKEN_EVERY_S, ROLLOUT_EVERY_S = 5.0, 0.2, 60.0
_HEAD = request("POST /v2/rerank HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", "Content-Length: 100000")
_PAGES = get("/search?q=laptop&size=1000&k=1") * 100

Count = Callable[[str], None]


class Soak:
    """The clients' work. Every kind has an address of its own, so that the limit for one client does not hide the others."""

    def __init__(self, address: Address, seed: int) -> None:
        self.address = address
        self.over = threading.Event()
        self.counts: dict[str, Counter[str]] = {}
        self._random = random.Random(seed)

    def run(self) -> None:
        kinds = (self.idle, self.slow, self.unread, self.large, self.broken, self.rollouts)
        threads = [threading.Thread(target=self._repeat, args=(kind, f"127.0.0.{number}"), daemon=True) for number, kind in enumerate(kinds, start=2)]
        for thread in threads:
            thread.start()
        sys.stdin.read()
        self.over.set()
        for thread in threads:
            thread.join(HELD_S)

    def _repeat(self, kind: Callable[[str, Count], None], source: str) -> None:
        counted = self.counts.setdefault(kind.__name__, Counter())

        def count(outcome: str) -> None:
            counted[outcome] += 1

        while not self.over.is_set():
            try:
                kind(source, count)
            except OSError as error:  # refused, reset, or no answer in time
                count(type(error).__name__)
                self.over.wait(0.2)

    def idle(self, source: str, count: Count) -> None:
        """Connections that send nothing."""
        self._hold(source, IDLE, b"", b"", count)

    def slow(self, source: str, count: Count) -> None:
        """Bodies of one byte a second."""
        self._hold(source, SLOW, _HEAD, b" ", count)

    def unread(self, source: str, count: Count) -> None:
        """Large pages that nobody reads."""
        self._hold(source, UNREAD, _PAGES, b"", count)

    def large(self, source: str, count: Count) -> None:
        """A body of 31 MB: documents that are too many, too long, or made of small values."""
        document = self._random.choice((b'"' + b"x" * 20_000 + b'"', b'"' + b"x" * 31_000 + b'"', b'{"title":""}', b"[]"))
        documents = b",".join([document] * (31_000_000 // (len(document) + 1)))
        self._send(source, post("/v2/rerank", b'{"query":"laptop","documents":[' + documents + b"]}"), 1, count)
        self.over.wait(LARGE_EVERY_S)

    def broken(self, source: str, count: Count) -> None:
        """One of the tests' hostile requests."""
        case = self._random.choice(_BROKEN)
        assert isinstance(case.attack, bytes | tuple)
        self._send(source, case.attack if isinstance(case.attack, bytes) else self._random.choice(case.attack), case.answers, count)
        self.over.wait(BROKEN_EVERY_S)

    def rollouts(self, source: str, count: Count) -> None:
        """A rollout a minute."""
        self._send(source, request("POST /bundles/reload HTTP/1.1", "Host: 127.0.0.1", "Content-Length: 0"), 1, count)
        self.over.wait(ROLLOUT_EVERY_S)

    def _send(self, source: str, data: bytes, answers: int, count: Count) -> None:
        for answer in one_exchange(self.address, data, answers, source=source):
            count(str(answer.status) if isinstance(answer, Answer) else answer)

    def _hold(self, source: str, connections: int, start: bytes, every_second: bytes, count: Count) -> None:
        with ExitStack() as stack:
            held = []
            for _ in range(connections):
                with suppress(OSError):
                    connection = stack.enter_context(connect(self.address, source=source, small_buffer=True))
                    connection.setblocking(False)
                    with suppress(BlockingIOError):
                        connection.send(start)
                    held.append(connection)
            until = time.monotonic() + HELD_S
            while time.monotonic() < until and not self.over.wait(1.0):
                for connection in held:
                    with suppress(OSError):
                        connection.send(every_second)
            closed = sum(_closed(connection) for connection in held)
            for outcome, number in (("held", len(held) - closed), (CLOSED, closed), ("refused", connections - len(held))):
                for _ in range(number):
                    count(outcome)


def _closed(connection: socket.socket) -> bool:
    """Whether the service has hung up; what it sent stays unread."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return bool(poll.poll(0))


_BROKEN = [case for case in (*PROTOCOL_CASES, *BODY_CASES, *PIPELINE_CASES) if isinstance(case.attack, bytes | tuple)]


def main() -> None:
    job = json.loads(sys.stdin.readline())
    soak = Soak(Address(job["host"], job["port"]), job["seed"])
    soak.run()
    print(json.dumps({kind: dict(counts.most_common()) for kind, counts in soak.counts.items()}))


if __name__ == "__main__":
    main()
