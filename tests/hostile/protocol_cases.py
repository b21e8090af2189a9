"""Cases below JSON: broken HTTP, other protocols, lengths that lie, strange paths, hosts and content types."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator

from tests.hostile.case import CLOSED, Case, large
from tests.hostile.raw_http import chunk, chunked, get, post, request

LIMIT = 32 * 1024 * 1024
GOOD = {"query": "laptop", "documents": ["laptop"]}
BODY = json.dumps(GOOD).encode()
TEXTS = {"query": "laptop", "texts": ["laptop"]}
REWRITE = {"request": {"query": {"match": {"title": "laptop"}}}, "settings": {"fields": {"title": "title"}}}
SCORE = REWRITE | {"documents": [{"title": "laptop"}]}
POSTS: dict[str, object] = {"/v2/rerank": GOOD, "/v1/rerank": GOOD, "/rerank": TEXTS, "/opensearch/request": REWRITE, "/opensearch/rerank": SCORE}
HOST, JSON, LENGTH = "Host: 127.0.0.1", "Content-Type: application/json", f"Content-Length: {len(BODY)}"
REFUSED: set[int | str] = {400, CLOSED}
RERANK = "POST /v2/rerank HTTP/1.1"


def _sized(*lengths: str, body: bytes = BODY, more: tuple[str, ...] = ()) -> bytes:
    return request(RERANK, HOST, JSON, *(f"Content-Length: {length}" for length in lengths), *more, body=body)


def _chunks(*pieces: bytes) -> bytes:
    return chunked("/v2/rerank", *pieces)


def _noise(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(length)


def other_protocols() -> Iterator[Case]:
    yield Case("HTTP/0.9", b"GET /health\r\n\r\n", {200, *REFUSED})
    yield Case("HTTP/1.0", b"GET /health HTTP/1.0\r\n\r\n", {200, 400, 421})
    yield Case("HTTP/1.0 with a body and keep-alive", request("POST /v2/rerank HTTP/1.0", HOST, JSON, LENGTH, "Connection: keep-alive", body=BODY), {200})
    for version in ("HTTP/9.9", "HTTP/2.0", "HTTP/1.1.1", "HTTP/1", "HTTP/-1.1", "HTTPS/1.1", "http/1.1", ""):
        yield Case(f"version {version!r}", request(f"GET /health {version}", HOST), {200, 505, *REFUSED})
    yield Case("preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x12\x04" + b"\x00" * 20, {404, 405, 505, *REFUSED})
    yield Case("upgrade to HTTP/2", get("/health", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"), {200, *REFUSED})
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + _noise(1, 506)
    yield Case("TLS hello", hello, REFUSED)
    socket_key = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13")
    for path in ("/", "/search?q=laptop", "/docs"):
        yield Case(f"websocket at {path}", get(path, *socket_key), {200, 307, 403, 404, 426, *REFUSED})
    yield Case("SSH banner", b"SSH-2.0-OpenSSH_9.2p1\r\n" + _noise(2, 200) + b"\r\n\r\n", REFUSED)
    yield Case("SMTP", b"EHLO evil.example\r\n\r\n", REFUSED)
    yield Case("Redis", b"*1\r\n$4\r\nPING\r\n\r\n", REFUSED)
    yield Case("zero bytes", b"\x00" * 10_000 + b"\r\n\r\n", REFUSED)
    yield Case("line breaks, then a request", b"\r\n" * 2 + get("/health"), {200, *REFUSED})
    yield Case("a megabyte of line breaks", b"\r\n" * 500_000, {431, *REFUSED})
    yield Case("line feeds alone", b"GET /health HTTP/1.1\nHost: 127.0.0.1\n\n", {200, *REFUSED})
    for seed in range(3, 8):
        yield Case(f"random bytes {seed}", _noise(seed, 5_000) + b"\r\n\r\n", REFUSED)


def methods() -> Iterator[Case]:
    yield Case("OPTIONS *", request("OPTIONS * HTTP/1.1", HOST), {400, 404, 405})
    yield Case("CONNECT", request("CONNECT evil.example:443 HTTP/1.1", "Host: evil.example:443"), {404, 405, 421, *REFUSED})
    yield Case("CONNECT this service", request("CONNECT 127.0.0.1:8000 HTTP/1.1", HOST), {404, 405, *REFUSED})
    for method in ("TRACE", "PUT", "DELETE", "PATCH", "FOO", "get", "PROPFIND", "X" * 100):
        yield Case(f"method {method[:10]}", request(f"{method} /v2/rerank HTTP/1.1", HOST), {404, 405, *REFUSED})
    yield Case("method of 100 kB", request("X" * 100_000 + " /health HTTP/1.1", HOST), {405, 431, *REFUSED})
    yield Case("method with a zero byte", b"GE\x00T /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", REFUSED)
    yield Case("HEAD", request("HEAD /health HTTP/1.1", HOST), {200, 405})
    yield Case(
        "OPTIONS of a web page", request("OPTIONS /v2/rerank HTTP/1.1", HOST, "Origin: http://evil.example", "Access-Control-Request-Method: POST"), {405}
    )
    yield Case("GET with a body", request("GET /health HTTP/1.1", HOST, JSON, LENGTH, body=BODY), {200, 400, 415})
    yield Case("GET of a POST endpoint", get("/v2/rerank"), {405})
    for name in ("X-HTTP-Method-Override", "X-Method-Override"):
        yield Case(name, post("/v2/rerank", GOOD, f"{name}: DELETE"), {200})


def headers() -> Iterator[Case]:
    for bad in ("no colon", " Folded: x", "Name : x", ": x", "Näme: x", "A\x00: x", "A: \x00", "A: x\ry", "A: \x0b\x0c", "A\t: x", "(): x"):
        yield Case(f"header {bad!r}", get("/health", bad), {200, *REFUSED})
    yield Case("a folded header", get("/health", "A: x", " y"), {200, *REFUSED})
    yield Case("bytes that are no UTF-8 in a header", get("/health", "A: \udcff\udcfe"), {200, *REFUSED})
    yield Case("header of 1 MB", get("/health", "A: " + "x" * 1_000_000), {431}, "header")
    yield Case("header name of 300 kB", get("/health", "A" * 300_000 + ": x"), {431}, "header")
    yield Case("10,000 headers", get("/health", *(f"A{i}: x" for i in range(10_000))), {431}, "header")
    yield Case("100,000 headers", get("/health", *(f"A{i}: x" for i in range(100_000))), {431}, "header")
    yield Case("cookies of 300 kB", get("/health", "Cookie: " + "a=b; " * 60_000), {431}, "header")
    yield Case("ranges", get("/health", "Range: bytes=" + ",".join(f"{i}-" for i in range(1_000))), {200})
    yield Case("Expect, with the body", post("/v2/rerank", GOOD, "Expect: 100-continue"), {200})
    yield Case("Expect of something else", post("/v2/rerank", GOOD, "Expect: a miracle"), {200, 417, 400})
    yield Case("Expect with too large a body", request(RERANK, HOST, JSON, f"Content-Length: {LIMIT + 1}", "Expect: 100-continue"), {413}, "bytes")
    yield Case("Connection names other headers", post("/v2/rerank", GOOD, "Connection: close, content-type, content-length, host"), {200, 400})
    yield Case("Accept-Encoding", get("/openapi.json", "Accept-Encoding: " + ", ".join(["gzip;q=0.1"] * 1_000)), {200})


def lengths() -> Iterator[Case]:
    for length in ("-1", "+5", "0x10", "1e3", "5 5", "5, 6", "", "a", "٣", "1" * 30, "9" * 5_000, "18446744073709551617", "4294967297", "0.5", "\x00"):
        yield Case(f"Content-Length {length[:20]!r}", _sized(length), {400, 413, 431, CLOSED})
    yield Case("two lengths", _sized("5", str(len(BODY))), REFUSED)
    yield Case("the same length twice", _sized(str(len(BODY)), str(len(BODY))), {200, *REFUSED})
    yield Case("no length", request(RERANK, HOST, JSON, body=BODY), {400, 411, 415, 422})
    yield Case("length 0 with a body", _sized("0"), {400, 415, 422})
    yield Case("length too short", _sized(str(len(BODY) - 3)), {400})
    yield Case("announced body of one byte too many", _sized(str(LIMIT + 1)), {413}, "bytes")
    yield Case("length and chunks", _sized(str(len(BODY)), more=("Transfer-Encoding: chunked",), body=chunk(BODY) + chunk(b"")), {200, *REFUSED})
    smuggled = chunk(b"") + get("/bundles")
    yield Case("length and chunks with a second request", _sized("4", more=("Transfer-Encoding: chunked",), body=smuggled), {400, 422, CLOSED})
    for coding in ("identity", "gzip, chunked", "chunked, gzip", "chunked, chunked", "xchunked", "\x0bchunked", "chunked\x00", '"chunked"'):
        head = request(RERANK, HOST, JSON, f"Transfer-Encoding: {coding}", body=chunk(BODY) + chunk(b""))
        yield Case(f"Transfer-Encoding {coding!r}", head, {200, 411, 415, 422, 501, *REFUSED})
    yield Case(
        "Transfer-Encoding in HTTP/1.0",
        request("POST /v2/rerank HTTP/1.0", HOST, JSON, "Transfer-Encoding: chunked", body=chunk(BODY) + chunk(b"")),
        {200, *REFUSED},
    )
    for size in (b"-1", b"zz", b"0x5", b"F" * 16, b"F" * 5_000, b"", b" 5", b"5 ", b"5;", b"+5", b"\xd9\xa3"):
        yield Case(f"chunk size {size[:20]!r}", _chunks(size + b"\r\n" + BODY + b"\r\n0\r\n\r\n"), {400, 408, 413, 422, CLOSED})
    yield Case("chunk extension of 1 MB", _chunks(b"5;" + b"x" * 1_000_000 + b"\r\nabcde\r\n0\r\n\r\n"), {400, 413, 431, CLOSED})
    yield Case("1,000 chunk extensions", _chunks(*(b"1;a=b\r\n%c\r\n" % byte for byte in BODY), b"0\r\n\r\n"), {200, *REFUSED})
    yield Case("trailers", _chunks(chunk(BODY), b"0\r\nA: x\r\nContent-Length: 5\r\nHost: evil.example\r\n\r\n"), {200, *REFUSED})
    yield Case("trailers of 1 MB", _chunks(chunk(BODY), b"0\r\n", b"A: xxxxxxxxxxxx\r\n" * 60_000, b"\r\n"), {200, 400, 413, 431, CLOSED})
    yield Case("a chunk with no end of line", _chunks(b"5\r\nabcdeXX0\r\n\r\n"), {400, 422, CLOSED})
    yield Case("no chunk but the last", _chunks(chunk(b"")), {400, 422})
    yield Case("single bytes as chunks", _chunks(*(chunk(bytes([byte])) for byte in BODY), chunk(b"")), {200})
    yield Case("chunked body of one byte too many", large(lambda: _chunks(*[chunk(b" " * 65_536)] * 512, chunk(b" "), chunk(b""))), {413}, "bytes")
    yield Case("body of one byte too many", large(lambda: _sized(str(LIMIT + 1), body=b" " * (LIMIT + 1))), {413}, "bytes")
    yield Case("body of spaces, at the limit", large(lambda: _sized(str(LIMIT), body=b" " * LIMIT)), {400, 422})


def paths() -> Iterator[Case]:
    for path in (
        "/%00",
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//health",
        "//evil.example/health",
        "/docs/../bundles/..",
        "/static/../../etc/passwd",
    ):
        yield Case(f"path {path}", get(path), {404, *REFUSED})
    for path in ("/static-offline-docs/%2e%2e/%2e%2e/%2e%2e/setup.py", "/static-offline-docs/..%2f..%2f..%2fetc/passwd", "/static-offline-docs//etc/passwd"):
        yield Case(f"path {path}", get(path), {404, *REFUSED})
    yield Case("backslashes", get("/..\\..\\etc\\passwd"), {404, *REFUSED})
    yield Case("half an escape", get("/%"), {404, *REFUSED})
    yield Case("an escape of no UTF-8", get("/%ff%fe"), {404, *REFUSED})
    yield Case("bytes of no UTF-8", get("/\udcff\udcfe"), {404, *REFUSED})
    yield Case("path of letters beyond ASCII", get("/é"), {404, *REFUSED})
    yield Case("path with a space", get("/a b"), {404, 505, *REFUSED})
    yield Case("path without a slash", get("health"), {404, *REFUSED})
    yield Case("fragment", get("/health#x"), {200, 404, *REFUSED})
    yield Case("path of 60 kB", get("/" + "a" * 60_000), {404, 414, 431, 400})
    yield Case("path of 1 MB", get("/" + "a" * 1_000_000), {414, 431})
    yield Case("path of 5,000 parts", get("/a" * 5_000), {404, 414, 431, 400})
    yield Case("line breaks and markup in a path", get("/%0d%0aSet-Cookie:%20a=b%0d%0a%0d%0a<script>"), {404, *REFUSED})
    yield Case("terminal escapes in a path", get("/%1b[2J%1b]0;owned%07"), {404, *REFUSED})
    yield Case("absolute URL", get("http://127.0.0.1/health"), {200, 400, 404})
    yield Case("absolute URL of another host", get("http://evil.example/health"), {200, 400, 404, 421})
    yield Case("absolute URL of a file", get("file:///etc/passwd"), {400, 404})


def hosts() -> Iterator[Case]:
    for path in ("/health", "/ready", "/search?q=laptop", "/bundles", "/docs", "/openapi.json", "/nothing"):
        yield Case(f"another host at {path}", request(f"GET {path} HTTP/1.1", "Host: evil.example"), {421})
    for path, body in POSTS.items():
        data = json.dumps(body).encode()
        yield Case(
            f"another host at {path}", request(f"POST {path} HTTP/1.1", "Host: evil.example:8000", JSON, f"Content-Length: {len(data)}", body=data), {421}
        )
    for host in ("127.0.0.1.evil.example", "localhost.evil.example", "evil-localhost", "127.0.0.1@evil.example", "evil.example#127.0.0.1", "evil.example:127"):
        yield Case(f"host {host}", request("GET /health HTTP/1.1", f"Host: {host}"), {421, 400})
    for host in (
        "",
        " ",
        "\x00",
        "a" * 5_000,
        "é.example",
        "[",
        "[::1",
        "127.0.0.1:99999",
        "127.0.0.1:x",
        "127.0.0.1, evil.example",
        "../..",
        "%6c",
        "localhost.",
    ):
        yield Case(f"host {host[:20]!r}", request("GET /health HTTP/1.1", f"Host: {host}"), {200, 400, 421, CLOSED})
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1:8000", "[::1]:8000", "192.168.7.7"):
        yield Case(f"host {host}", request("GET /health HTTP/1.1", f"Host: {host}"), {200})
    yield Case("no host", request("GET /health HTTP/1.1"), {400, 421})
    yield Case("two hosts", request("GET /health HTTP/1.1", HOST, "Host: evil.example"), {400, 421})
    yield Case("two hosts, the other first", request("GET /health HTTP/1.1", "Host: evil.example", HOST), {400, 421})
    claims = ("X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: localhost", "X-Forwarded-Proto: https", "Forwarded: for=127.0.0.1;host=localhost")
    yield Case("proxy headers beside another host", request("GET /search?q=laptop HTTP/1.1", "Host: evil.example", *claims), {421})
    yield Case("proxy headers at the bundles", get("/bundles", *claims), {403})
    yield Case("proxy headers at a rollout", request("POST /bundles/reload HTTP/1.1", HOST, *claims), {403, 415})
    yield Case("proxy header of another host", post("/v2/rerank", GOOD, "X-Forwarded-Host: evil.example", "X-Real-IP: ::1"), {200})


def web_pages() -> Iterator[Case]:
    origin = "Origin: http://evil.example"
    for path, body in POSTS.items():
        yield Case(f"web page at {path}", post(path, body, origin), {200, 403})
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", None):
            yield Case(f"web page at {path} with {kind}", post(path, body, origin, kind=kind), {415, 403})
            yield Case(f"{path} with {kind}", post(path, body, kind=kind), {415})
    for path in ("/bundles/reload", "/bundles/rollback", "/bundles/shadow", "/bundles/promote"):
        yield Case(f"web page at {path}", request(f"POST {path} HTTP/1.1", HOST, origin, "Content-Length: 0"), {403})
        yield Case(f"web page at {path} with a body", post(path, {"path": "x"}, origin, kind="text/plain"), {403, 415})
    yield Case("web page reads the bundles", get("/bundles", origin), {403})
    yield Case("web page of no origin", get("/bundles", "Origin: null"), {403})
    for kind in (
        "application/json; charset=utf-16",
        "application/json; charset=utf-7",
        "application/json;charset=" + "x" * 1_000,
        "application/json; charset=\udcff",
    ):
        yield Case(f"content type {kind[:40]!r}", post("/v2/rerank", GOOD, kind=kind), {200, 400, 415})
    for kind in ("APPLICATION/JSON", "application/json;", "application/json; charset=utf-8", "application/vnd.api+json"):
        yield Case(f"content type {kind}", post("/v2/rerank", GOOD, kind=kind), {200} if "vnd" not in kind else {200, 415})
    for kind in ("", "json", "/", "application/jsonp", "text/json; application/json", "application/json, text/plain", "*/*", "é", "x" * 5_000, "text/html"):
        yield Case(
            f"content type {kind[:20]!r}", post("/v2/rerank", GOOD, kind=kind), {415} if kind not in ("application/json, text/plain", "é") else {200, 400, 415}
        )
    yield Case("two content types", post("/v2/rerank", GOOD, "Content-Type: text/plain"), {200, 400, 415})
    bomb = gzip.compress(b"[" + b"0," * 5_000_000 + b"0]")
    for coding in ("gzip", "deflate", "br", "zstd", "gzip, gzip", "x"):
        yield Case(f"Content-Encoding {coding}", post("/v2/rerank", bomb, f"Content-Encoding: {coding}"), {400, 415})
    yield Case("Content-Encoding identity", post("/v2/rerank", GOOD, "Content-Encoding: identity"), {200, 415})


CASES = [*other_protocols(), *methods(), *headers(), *lengths(), *paths(), *hosts(), *web_pages()]
