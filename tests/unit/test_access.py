"""Who is answered: host names, content types, and what probes learn without a key."""

from __future__ import annotations

import json
import threading
import tracemalloc
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from fastapi.testclient import TestClient

from reranker import Reranker, TwoStageSearch
from reranker.demo import add_page
from reranker.errors import FirstStageError
from reranker.service import create_app
from reranker.service.api_keys import ApiKeys
from reranker.service.models import RerankRequest
from reranker.service.parsing import parse

KEY = "a-key-of-twenty-four-char"
GOOD = {"query": "laptop", "documents": ["laptop"]}


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("127.0.0.1:8000", 200),
        ("10.1.2.3", 200),
        ("[::1]:8000", 200),
        ("search.shop.example", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("user@localhost", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
def test_only_named_hosts_and_addresses_are_answered(reranker: Reranker, host: str, status: int) -> None:
    with TestClient(create_app(reranker, hosts=["search.shop.example"])) as client:
        for answer in (client.get("/health", headers={"Host": host}), client.post("/v2/rerank", json=GOOD, headers={"Host": host})):
            assert answer.status_code == status, answer.text


def test_all_hosts_can_be_allowed(reranker: Reranker) -> None:
    with TestClient(create_app(reranker, hosts=["*"])) as client:
        assert client.get("/health", headers={"Host": "any.example"}).status_code == 200


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("application/vnd.api+json", 200),
        ("text/plain", 415),
        ("text/plain; application/json", 415),
        ("application/x-www-form-urlencoded", 415),
        ("", 415),
        (None, 415),
    ],
)
def test_a_body_needs_the_content_type_of_json(reranker: Reranker, content_type: str | None, status: int) -> None:
    with TestClient(create_app(reranker)) as client:
        headers = {} if content_type is None else {"Content-Type": content_type}
        assert client.post("/v2/rerank", content=json.dumps(GOOD), headers=headers).status_code == status


class Unreachable:
    """A first stage that fails, or never answers."""

    name, in_process = "opensearch", False

    def __init__(self, gate: threading.Event | None = None) -> None:
        self.gate = gate
        self.asked = 0

    def count(self) -> int:
        self.asked += 1
        if self.gate is not None:
            self.gate.wait(60)
        raise FirstStageError("The index /var/lib/shop at 10.0.0.7:9200 is missing.", hint="Look at 10.0.0.7.")

    def close(self) -> None:
        pass


def error_of(answer: Any) -> str:
    return str(answer.json()["first_stage"]["error"])


def test_readiness_tells_addresses_only_to_those_with_a_key(reranker: Reranker) -> None:
    searcher = TwoStageSearch(Unreachable(), reranker)  # type: ignore[arg-type]
    with TestClient(create_app(reranker, searcher, keys=ApiKeys([KEY]))) as client:
        answers = [client.get("/ready", headers=headers) for headers in ({}, {"X-API-Key": "wrong"}, {"X-API-Key": KEY})]
        assert [answer.status_code for answer in answers] == [503] * 3
        assert ["10.0.0.7" in error_of(answer) for answer in answers] == [False, False, True]


def test_a_first_stage_that_hangs_is_asked_once_and_reported(reranker: Reranker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reranker.service.readiness.TIMEOUT_S", 0.1)
    gate = threading.Event()
    first_stage = Unreachable(gate)
    with TestClient(create_app(reranker, TwoStageSearch(first_stage, reranker))) as client:  # type: ignore[arg-type]
        assert [client.get("/ready").status_code for _ in range(5)] == [503] * 5
        assert first_stage.asked == 1
        assert client.post("/v2/rerank", json=GOOD).status_code == 200
        gate.set()


def test_the_demo_page_needs_no_key_but_its_searches_do(reranker: Reranker) -> None:
    app = create_app(reranker, keys=ApiKeys([KEY]))
    add_page(app)
    with TestClient(app) as client:
        assert [client.get(path).status_code for path in ("/", "/demo/page.js", "/demo/style.css")] == [200] * 3
        assert client.get("/search", params={"q": "laptop"}).status_code == 401
        assert client.get("/search", params={"q": "laptop"}, headers={"X-API-Key": KEY}).status_code == 503  # there is no first stage here


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b'{"query": "\\ud800", "documents": ["x"]}', "query: contains half a surrogate pair"),
        (b'{"query": "x", "documents": ["x", {"title": "\\udfff"}]}', "documents[1].title: contains half a surrogate pair"),
        (b'{"query": "x", "documents": [{"title": "x", "\\ud800": 1}]}', "documents[0]: has a name with half a surrogate pair"),
        (b'{"query": "x", "documents": ["x"], "top_n": ' + b"9" * 5_000 + b"}", "top_n: is a number of too many digits"),
        (b'{"query": "x", "documents": [{"title": "x", "brand": ' + b'{"a":' * 480 + b"1" + b"}" * 480 + b"}]}", "documents[0].brand"),
    ],
)
def test_a_value_that_cannot_be_read_is_pointed_at(reranker: Reranker, body: bytes, where: str) -> None:
    with TestClient(create_app(reranker)) as client:
        answer = client.post("/v2/rerank", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422
        assert answer.json()["error"]["message"].startswith(where)


@pytest.mark.parametrize("k", ["9" * 400, "9" * 10, "-" + "9" * 400])
def test_a_k_of_many_digits_is_refused(reranker: Reranker, k: str) -> None:
    searcher = TwoStageSearch(Unreachable(), reranker)  # type: ignore[arg-type]
    with TestClient(create_app(reranker, searcher)) as client:
        answer = client.get("/search", params={"q": "laptop", "k": k})
        assert answer.status_code == 422
        assert len(answer.text) < 2_000


def test_looking_for_an_unreadable_value_copies_no_paths() -> None:
    body = b'{"query": "a", "documents": ' + b'["x", ' * 150 + b'"\\ud800"' + b", 0" * 100_000 + b"]" * 150 + b"}"
    tracemalloc.start()
    try:
        with pytest.raises(RequestValidationError) as caught:
            parse(RerankRequest, body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "half a surrogate pair" in str(caught.value)
    assert peak < 20 * len(body)
