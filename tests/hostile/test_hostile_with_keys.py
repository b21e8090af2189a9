"""A service with API keys, under attack by clients that have none, and by one that has one; its index is broken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from reranker.embedded import build_index
from tests.hostile.case import CLOSED, Outcome, one_exchange, outcomes
from tests.hostile.protocol_cases import GOOD, HOST, POSTS
from tests.hostile.raw_http import Address, Answer, get, post, request
from tests.served import Served, free_port, served
from tests.tiny_bundle import make_tiny_bundle

KEY = "a-key-of-two-dozen-letters"
WITH_KEY = f"Authorization: Bearer {KEY}"
BUNDLES = ("/bundles/reload", "/bundles/rollback", "/bundles/shadow", "/bundles/promote")
ENDPOINTS: dict[str, tuple[str, object]] = {
    **{path: ("POST", body) for path, body in POSTS.items()},
    **{path: ("POST", {"path": "other"}) for path in BUNDLES},
    "/bundles/shadow (stop)": ("DELETE", None),
    **dict.fromkeys(("/search?q=laptop", "/bundles", "/docs", "/openapi.json", "/nothing", "/health/", "//ready", "/metrics/../search?q=a"), ("GET", None)),
}
STRANGERS = {
    "no key": [],
    "an empty key": ["Authorization: Bearer ", "X-API-Key: "],
    "a wrong key": [f"Authorization: Bearer {KEY[:-1]}x"],
    "the key's beginning": [f"X-API-Key: {KEY[:-1]}"],
    "the key and more": [f"X-API-Key: {KEY}x"],
    "the key in capitals": [f"X-API-Key: {KEY.upper()}"],
    "the key by another scheme": [f"Authorization: Basic {KEY}", f"Cookie: key={KEY}", f"X-Key: {KEY}"],
    "a key beyond ASCII": ["Authorization: Bearer schlüssel", "X-API-Key: \udcff\udcfe"],
    "wrong keys 50 times": [f"X-API-Key: {i}" for i in range(50)],
    "a key of 60 kB": ["X-API-Key: " + "k" * 60_000],
    "a key of 300 kB": ["X-API-Key: " + "k" * 300_000],
    "claims of this machine": ["X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1", "X-Original-URL: /health", "X-Rewrite-URL: /health"],
}
TOO_LARGE = {"a key of 60 kB", "a key of 300 kB"}


def address_of(service: Served) -> Address:
    url = urlsplit(service.url)
    return Address(str(url.hostname), url.port or 0)


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("keyed")
    bundle = make_tiny_bundle(folder / "bundles" / "first")
    make_tiny_bundle(folder / "outside", level=3.0)
    (folder / "bundles" / "link").symlink_to(folder / "outside")
    (folder / "bundles" / "empty").mkdir()
    index = folder / "home" / "broken"
    build_index(index, [{"id": "1", "title": "Laptop"}])
    for part in index.rglob("*"):
        if part.is_file():
            part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])
    options = ["--bundle", str(bundle), "--bundles", str(folder / "bundles"), "--index", "broken", "--client-timeout-s", "3"]
    with served(folder, *options, environment={"RERANKER_API_KEY": KEY}) as service:
        yield service


def ask(service: Served, data: bytes) -> Answer | str:
    """Send the bytes; then a client with the key must be served."""
    answer = one_exchange(address_of(service), data)[0]
    good = one_exchange(address_of(service), post("/v2/rerank", GOOD, WITH_KEY))[0]
    assert isinstance(good, Answer)
    assert good.status == 200
    return answer


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_without_the_key_nothing_is_told(keyed: Served, endpoint: str, stranger: str) -> None:
    method, body = ENDPOINTS[endpoint]
    path, headers = endpoint.split(" ")[0], STRANGERS[stranger]
    data = post(path, body, *headers) if method == "POST" else request(f"{method} {path} HTTP/1.1", HOST, *headers)
    answer = ask(keyed, data)
    allowed: set[Outcome] = {401, *({431, 400} if stranger in TOO_LARGE else set())}
    assert outcomes([answer]) <= allowed, answer
    assert isinstance(answer, Answer)
    assert KEY.encode() not in answer.body
    assert len(answer.body) < 1_000


@pytest.mark.parametrize("kind", ["text/plain", None])
@pytest.mark.parametrize("path", [*POSTS, *BUNDLES])
def test_the_key_is_checked_before_the_body(keyed: Served, path: str, kind: str | None) -> None:
    assert outcomes([ask(keyed, post(path, b"\xff" * 100_000, kind=kind))]) == {401}


def test_a_large_body_without_a_key_is_not_kept(keyed: Served) -> None:
    head = request("POST /v2/rerank HTTP/1.1", HOST, "Content-Type: application/json", "Content-Length: 40000000")
    assert outcomes([ask(keyed, head)]) <= {401, 413}
    assert outcomes([ask(keyed, head + b" " * 10_000)]) <= {401, 413, 408, CLOSED}


def hidden_parts(service: Served) -> list[bytes]:
    return [str(service.stderr.parent).encode(), b"/home", b"broken", b"127.0.0.1", b"meta.json", b"opensearch", b"Errno", b"//"]


@pytest.mark.parametrize("stranger", STRANGERS)
def test_readiness_without_a_key_shows_no_path(keyed: Served, stranger: str) -> None:
    answer = ask(keyed, get("/ready", *STRANGERS[stranger]))
    assert isinstance(answer, Answer)
    assert answer.status in ({503, 431, 400} if stranger in TOO_LARGE else {503})
    assert not [part for part in hidden_parts(keyed) if part in answer.body], answer.body


def test_readiness_without_a_key_shows_no_address_of_a_cluster(tmp_path: Path) -> None:
    cluster = f"http://127.0.0.1:{free_port()}"
    options = ["--bundle", str(make_tiny_bundle(tmp_path / "bundle")), "--opensearch", cluster]
    with served(tmp_path, *options, environment={"RERANKER_API_KEY": KEY}) as service:
        answer = ask(service, get("/ready"))
        assert isinstance(answer, Answer)
        assert answer.status == 503
        assert not [part for part in (b"127.0.0.1", str(urlsplit(cluster).port).encode(), b"refused", b"//") if part in answer.body], answer.body
        told = ask(service, get("/ready", WITH_KEY))
        assert isinstance(told, Answer)
        assert json.loads(told.body)["first_stage"]["error"]["message"]  # with the key it says what is wrong


@pytest.mark.parametrize(
    "path",
    [
        *("../outside", "../../../../etc", "/etc/passwd", "/", ".", "..", "", " ", "~", "~root", "link", "empty", "first/manifest.json", "first/../../outside"),
        *("a\x00b", "\x00", "\ud800", "first\n", "a" * 255, "a/" * 400, "a" * 1_001, "a" * 1_000_000, "file:///etc/passwd", "%2e%2e/outside", "..\\outside"),
        *(1, 10**400, ["first"], {"path": "first"}, True, "\u202e", "👩" * 200, "/dev/zero", "/dev/stdin", "/proc/self/environ"),
    ],
    ids=lambda path: repr(path)[:30],
)
@pytest.mark.parametrize("endpoint", ["/bundles/reload", "/bundles/shadow"])
def test_a_bundles_path_leads_nowhere_else(keyed: Served, endpoint: str, path: object) -> None:
    answer = ask(keyed, post(endpoint, {"path": path}, WITH_KEY))
    assert isinstance(answer, Answer)
    assert answer.status == 422
    assert len(answer.body) < 10_000
    assert b"root:" not in answer.body
    body = json.loads(answer.body)
    assert body["error"]["message"]
    served_now = ask(keyed, get("/bundles", WITH_KEY))
    assert isinstance(served_now, Answer)
    assert json.loads(served_now.body)["serving"]["name"] == "tiny"
    assert json.loads(served_now.body)["shadow"] is None


@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"[]", b"1", b"[" * 100_000, b'{"path":' * 5_000, b'{"path":"a","path":"b"}', b'{"other":1}', b"\xff"], ids=repr
)
def test_a_body_that_names_no_bundle(keyed: Served, body: bytes) -> None:
    answer = ask(keyed, post("/bundles/shadow", body[:1_000_000], WITH_KEY))
    assert outcomes([answer]) <= {400, 422}


def test_the_log_holds_no_key_and_no_traceback(keyed: Served) -> None:
    """The last test of this file."""
    log = keyed.stderr.read_bytes()
    assert KEY.encode() not in log
    assert b"Traceback" not in log
    assert len(log) < 1_000_000
    assert max(map(len, log.splitlines()), default=0) <= 5_000
