"""Cases of many or slow connections: idle ones, half requests, answers that nobody reads, floods, and what they cost in memory."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress

from benchmarks.load.command import memory_mb, watching_memory
from tests.hostile.case import CLOSED, Attack, Case, Target, one_exchange
from tests.hostile.protocol_cases import GOOD, HOST, JSON, LIMIT, POSTS, SCORE
from tests.hostile.raw_http import Address, Answer, chunk, chunked, connect, exchange, get, post, request, reset

HELD = "held"
"""The connections were held as long as the case wanted, whatever the service did to them."""
PEAK_MB, LEFT = 700.0, 1.5
"""Memory above the warm service's at any time, and afterwards, as a multiple of the warm service's."""
_RECOVERY_S = 10.0
_SOURCES = tuple(f"127.0.0.{i}" for i in range(2, 8))  # every address of 127.0.0.0/8 is this machine, on Linux
_HALF_HEAD = b"POST /v2/rerank HTTP/1.1\r\nHost: 127.0.0.1\r\nA: "
BIG_DOCUMENT = "laptop " * 2_857  # just under the limit of 20,000 characters
_BIG = 31_000_000


def _big_answer() -> bytes:
    return post("/v2/rerank", {"query": "laptop", "documents": [BIG_DOCUMENT] * 1_000, "return_documents": True})


@contextmanager
def bounded_memory(target: Target, found: list[Answer | str]) -> Iterator[None]:
    """Add an outcome that no case allows if the service takes too much memory meanwhile, or keeps too much of it afterwards."""
    before = memory_mb(target.pid)
    with watching_memory(target.pid, every_s=0.02) as samples:
        yield
    most = max(megabytes for _, megabytes in samples)
    if most > target.warm_mb + PEAK_MB:
        found.append(f"took {most:,.0f} MB, {target.warm_mb:,.0f} when warm")
    allowed = before + (LEFT - 1) * target.warm_mb
    deadline = time.monotonic() + _RECOVERY_S
    while (left := memory_mb(target.pid)) > allowed and time.monotonic() < deadline:
        time.sleep(0.1)
    if left > allowed:
        found.append(f"kept {left:,.0f} MB, {before:,.0f} before, {target.warm_mb:,.0f} when warm")


def _push(connections: Iterable[socket.socket], data: bytes, *, seconds: float) -> None:
    """Send the data on all connections at once, without reading, until all is sent, the connection breaks or time is up."""
    rest = {connection: memoryview(data) for connection in connections}
    deadline = time.monotonic() + seconds
    while rest and time.monotonic() < deadline:
        poll = select.poll()  # select() cannot watch descriptors above 1,023
        by_number = {connection.fileno(): connection for connection in rest}
        for number in by_number:
            poll.register(number, select.POLLOUT)
        for number, _ in poll.poll(200):
            connection = by_number[number]
            try:
                rest[connection] = rest[connection][connection.send(rest[connection][: 1 << 18], socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                continue
            except OSError:
                rest.pop(connection)
                continue
            if not rest[connection]:
                rest.pop(connection)


def holding(
    data: bytes | Callable[[], bytes], count: int, *, sources: tuple[str | None, ...] = (None,), small_buffer: bool = False, seconds: float = 2.0
) -> Attack:
    """An attack by connections that send this, read nothing, and stay open; a service may refuse or close them."""

    def attack(target: Target) -> Generator[None, None, list[Answer | str]]:
        found: list[Answer | str] = [HELD]
        with bounded_memory(target, found), ExitStack() as stack:
            connections = []
            for i in range(count):
                with suppress(OSError):
                    connections.append(stack.enter_context(connect(target.address, source=sources[i % len(sources)], small_buffer=small_buffer)))
                if i % 200 == 199:
                    yield
            _push(connections, data if isinstance(data, bytes) else data(), seconds=5.0)
            yield
            time.sleep(seconds)
            yield
        return found

    return attack


def at_once(*parts: Callable[[Address], Iterable[Answer | str]]) -> Attack:
    """An attack by several clients at the same time, each in a thread; good requests are sent meanwhile."""

    def attack(target: Target) -> Generator[None, None, list[Answer | str]]:
        found: list[Answer | str] = []
        with bounded_memory(target, found), ThreadPoolExecutor(len(parts)) as pool:
            running = [pool.submit(part, target.address) for part in parts]
            while wait(running, timeout=0.2).not_done:
                yield
            for one in running:
                found.extend(one.result())
        return found

    return attack


def sending(data: bytes, *, answers: int = 1) -> Callable[[Address], list[Answer | str]]:
    return lambda address: one_exchange(address, data, answers)


def _slowly(name: str, start: bytes, rest: bytes, *, piece: int = 1, every_s: float = 0.1, answers: int = 1) -> Callable[[Address], list[Answer | str]]:
    """A client that sends the start, then a piece at a time; ``name`` is its outcome if the service lets it go on."""

    def pieces() -> Iterator[bytes]:
        yield start
        for at in range(0, len(rest), piece):
            time.sleep(every_s)
            yield rest[at : at + piece]

    def client(address: Address) -> list[Answer | str]:
        with connect(address) as connection:
            try:
                found = exchange(connection, pieces(), answers=answers)
            except TimeoutError:
                return [f"{name}: still open"]
        return [*found, *([CLOSED] if len(found) < answers else [])]

    return client


def _body_head(length: int) -> bytes:
    return request("POST /v2/rerank HTTP/1.1", HOST, JSON, f"Content-Length: {length}")


def slow() -> Iterator[Case]:
    yield Case(
        "slow clients",
        at_once(
            _slowly("silent", b"", b""),
            _slowly("header byte by byte", b"GET /health HTTP/1.1\r\nA: ", b"x" * 1_000),
            _slowly("line breaks byte by byte", b"", b"\r\n" * 1_000),
            _slowly("header line by line", b"GET /health HTTP/1.1\r\n", b"Header: x\r\n" * 1_000, piece=11, every_s=0.5),
            _slowly("body byte by byte", _body_head(1_000), b" " * 1_000),
            _slowly("body at 2 kB a second", _body_head(1_000_000), b" " * 1_000_000, piece=200),
            _slowly("body that never starts", _body_head(1_000), b""),
            _slowly("body that stops", _body_head(1_000) + b" " * 500, b""),
            _slowly("chunked body byte by byte", chunked("/v2/rerank"), chunk(b" ") * 1_000, piece=6, every_s=0.2),
            _slowly("chunk that stops", chunked("/v2/rerank", b"ffff\r\nabc"), b""),
            _slowly("body announced with Expect", request("POST /v2/rerank HTTP/1.1", HOST, JSON, "Content-Length: 99", "Expect: 100-continue"), b""),
            _slowly("idle after an answer", get("/health"), b"", answers=2),
            _slowly("half a header after an answer", get("/health"), _HALF_HEAD, piece=len(_HALF_HEAD), answers=2),
        ),
        {200, 400, 408, CLOSED},
    )
    body = json.dumps({"query": "laptop", "documents": ["laptop " * 1_000] * 10}).encode()
    yield Case("a client of an ordinary slow line", at_once(_slowly("slow line", _body_head(len(body)), body, piece=5_000)), {200})


def crowds() -> Iterator[Case]:
    yield Case("1,100 idle connections of one client", holding(b"", 1_100), {HELD})
    yield Case("1,100 idle connections of six clients", holding(b"", 1_100, sources=_SOURCES), {HELD})
    yield Case("1,100 connections with half a header", holding(_HALF_HEAD, 1_100, sources=_SOURCES), {HELD})
    yield Case("1,100 connections after an answer", holding(get("/health"), 1_100, sources=_SOURCES), {HELD})
    yield Case("300 connections with half a body", holding(_body_head(2_000_000) + b" " * 1_000_000, 300, sources=_SOURCES), {HELD})
    yield Case("300 connections with half a chunk", holding(chunked("/v2/rerank", b"fffff\r\n" + b" " * 500_000), 300, sources=_SOURCES), {HELD})
    yield Case("half a body of one client 400 times", holding(_body_head(2_000) + b" " * 1_000, 400), {HELD})


def unread() -> Iterator[Case]:
    yield Case("10 large answers that nobody reads", holding(_big_answer, 10, small_buffer=True, seconds=4.0), {HELD})
    yield Case("10 pages of 1,000 that nobody reads", holding(get("/search?q=laptop&size=1000&k=1"), 10, small_buffer=True), {HELD})
    yield Case("20 times 500 pages that nobody reads", holding(get("/search?q=laptop&size=1000&k=1") * 500, 20, small_buffer=True), {HELD})
    yield Case("20 times 1,000 descriptions that nobody reads", holding(get("/openapi.json") * 1_000, 20, small_buffer=True), {HELD})
    yield Case("10 metrics that nobody reads, 1,000 times", holding(get("/metrics") * 1_000, 10, small_buffer=True), {HELD})


def _tiny_chunks(address: Address) -> list[Answer | str]:
    """Send a body in chunks of one byte, as fast as it goes, for three seconds; then hang up."""
    with connect(address) as connection:
        connection.sendall(chunked("/v2/rerank"))
        _push([connection], chunk(b" ") * 20_000_000, seconds=3.0)
        reset(connection)
    return [CLOSED]


def _hang_up(data: bytes, times: int) -> Callable[[Address], list[Answer | str]]:
    def client(address: Address) -> list[Answer | str]:
        for _ in range(times):
            with suppress(OSError):
                connection = connect(address)
                with suppress(OSError):
                    connection.sendall(data)
                reset(connection)
        return [CLOSED]

    return client


def _half_closed(address: Address) -> list[Answer | str]:
    with connect(address) as connection:
        connection.sendall(post("/v2/rerank", GOOD))
        connection.shutdown(socket.SHUT_WR)
        found = exchange(connection, b"")
    return [*found, *([] if found else [CLOSED])]


def floods() -> Iterator[Case]:
    yield Case("chunks of one byte on 10 connections", at_once(*[_tiny_chunks] * 10), {CLOSED})
    yield Case("1,000 requests at once on one connection", get("/health") * 1_000, {200, 400, CLOSED}, answers=1_000)
    yield Case("20 MB of requests at once on one connection", holding(get("/health") * 500_000, 1), {HELD})
    yield Case("500 reranks at once on one connection", post("/v2/rerank", GOOD) * 500, {200, 400, CLOSED}, answers=500)
    yield Case("200 at once to /ready", at_once(*[sending(get("/ready"))] * 200), {200, 503})
    yield Case("200 at once to /metrics", at_once(*[sending(get("/metrics"))] * 200), {200, 503})
    yield Case("200 at once to /docs", at_once(*[sending(get("/docs"))] * 200), {200, 503})
    yield Case("200 searches at once", at_once(*[sending(get("/search?q=laptop&size=100"))] * 200), {200, 503})
    yield Case("50 rollouts at once", at_once(*[sending(request("POST /bundles/reload HTTP/1.1", HOST, "Content-Length: 0"))] * 50), {200, 409, 503})
    yield Case("2,000 connections that hang up", at_once(*[_hang_up(b"", 400)] * 5), {CLOSED})
    yield Case("500 requests that nobody waits for", at_once(*[_hang_up(post("/v2/rerank", GOOD), 100)] * 5), {CLOSED})
    yield Case("500 half requests that hang up", at_once(*[_hang_up(_body_head(1_000) + b"{", 100)] * 5), {CLOSED})
    yield Case("20 large bodies that hang up", at_once(*[_hang_up(_big_answer()[:-100_000], 4)] * 5), {CLOSED})
    yield Case("90 bodies of which only the first byte comes", holding(_body_head(870_000) + b"{", 90), {HELD})
    yield Case("a client that stops sending but waits", at_once(_half_closed), {200, CLOSED})
    yield Case("every POST endpoint at once", at_once(*[sending(post(path, body)) for path, body in POSTS.items()] * 10), {200, 503})


def large_bodies() -> Iterator[Case]:
    strings = post("/v2/rerank", {"query": "laptop", "documents": ["x" * (_BIG // 1_600)] * 1_600})
    objects = post("/v2/rerank", b'{"query":"a","documents":[' + b'{"title":1},' * (_BIG // 12 - 10) + b"{}]}")
    lists = post("/opensearch/request", b'{"request":{"a":[' + b"[]," * (_BIG // 3 - 100) + b"[]]}}")
    one = post("/opensearch/rerank", SCORE | {"documents": [{"title": "x" * _BIG}]})
    refused: set[int | str] = {200, 400, 413, 422, 503, CLOSED}
    for name, body in {"strings": strings, "objects": objects, "lists": lists, "one string": one}.items():
        yield Case(f"20 bodies of 31 MB at once, of {name}", at_once(*[sending(body)] * 20), refused)
    yield Case(
        "20 bodies of the limit, in chunks",
        at_once(*[sending(chunked("/v2/rerank", *[chunk(b" " * 65_536)] * (LIMIT // 65_536), chunk(b"")))] * 20),
        refused,
    )


def _beside_announcements(target: Target) -> Generator[None, None, list[Answer | str]]:
    """Announce many large bodies, send their first bytes, and then ask for something large that is legal."""
    with ExitStack() as stack:
        announced = [stack.enter_context(connect(target.address, source=source)) for source in _SOURCES * 4]
        _push(announced, _body_head(_BIG) + b'{"query":', seconds=5.0)
        yield
        return one_exchange(target.address, post("/v2/rerank", {"query": "laptop", "documents": [BIG_DOCUMENT] * 100}))


def legal_and_large() -> Iterator[Case]:
    yield Case("a large legal body beside large ones that only begin", _beside_announcements, {200})

    def three(make: Callable[[int], bytes]) -> Callable[[Address], list[Answer | str]]:
        return lambda address: [answer for i in range(3) for answer in one_exchange(address, make(i))]

    def reranking(i: int) -> bytes:
        return post("/v2/rerank", {"query": "laptop", "documents": [f"{i} {n} {BIG_DOCUMENT[:19_900]}" for n in range(1_000)], "return_documents": True})

    def products(i: int) -> bytes:
        return post("/v2/rerank", {"query": f"laptop {i}", "documents": [{"title": f"{i} {n}", "description": BIG_DOCUMENT[:19_900]} for n in range(1_000)]})

    def hits(i: int) -> bytes:
        one = SCORE | {"settings": {"k": 1_000, "fields": {"title": "title"}}}
        return post("/opensearch/rerank", one | {"documents": [{"title": f"{i} {n} {BIG_DOCUMENT}" * 1} for n in range(1_000)]})

    for name, make in {"reranks": reranking, "products": products, "pages of hits": hits}.items():
        yield Case(f"three large legal {name}", at_once(three(make)), {200, 413, 422, 503})


CASES = [*slow(), *crowds(), *unread(), *floods(), *large_bodies(), *legal_and_large()]
