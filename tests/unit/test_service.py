"""The HTTP service as clients see it, and the commands `reranker serve` and `reranker search`."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from reranker import Reranker, TwoStageSearch
from reranker.cli.app import main
from reranker.embedded import EmbeddedFirstStage, build_index
from reranker.errors import FirstStageError
from reranker.service import create_app
from reranker.service.late_first_stage import LateFirstStage
from reranker.service.limits import Limits

PRODUCTS = [
    {"id": "bag", "title": "Laptop bag laptop bag laptop", "brand": "Targus"},
    {"id": "rog", "title": "Gaming laptop with a very long name that BM25 likes less than the short ones", "brand": "ASUS"},
    {"id": "café", "title": "Écran d’été 4K 🎮 laptop", "brand": "Émile", "extra": {"rides": "along"}},
    {"id": "desk", "title": "Desk"},
    {"id": "escape", "title": "Laptop \x1b[31m[bold]red[/bold]\x1b[0m"},
]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("indexes") / "products"
    build_index(folder, PRODUCTS)
    return folder


@pytest.fixture
def client(reranker: Reranker, index: Path) -> Iterator[TestClient]:
    with TestClient(create_app(reranker, TwoStageSearch(EmbeddedFirstStage(index), reranker)), raise_server_exceptions=False) as client:
        yield client


def error_of(response: Any, status: int) -> str:
    """Check that the answer is an error in the service's form, and return its message."""
    assert response.status_code == status, response.text
    assert response.json().keys() == {"error", "detail"}
    assert response.json()["detail"] == response.json()["error"]["message"]
    assert response.json()["error"].keys() == {"message", "hint"}
    assert "Traceback" not in response.text
    return response.json()["error"]["message"]


DOCUMENTS = ["a desk", "one gaming laptop", {"text": "laptop"}, {"title": "Gaming laptop", "brand": "ASUS"}]


@pytest.mark.parametrize("version", ["1", "2"])
def test_rerank_in_the_shape_of_cohere_and_jina(client: TestClient, version: str) -> None:
    body = {
        "model": "rerank-v3.5",
        "query": "gaming laptop",
        "documents": DOCUMENTS,
        "max_tokens_per_doc": 4096,
        "rank_fields": ["text"],
        "max_chunks_per_doc": 10,
    }
    answer = client.post(f"/v{version}/rerank", json=body)
    assert answer.status_code == 200
    content = answer.json()
    assert [result["index"] for result in content["results"]] == [1, 3, 2, 0]  # 1 and 3 tie
    assert [result["relevance_score"] for result in content["results"]] == pytest.approx([0.982, 0.982, 0.5, 0.018], abs=1e-3)
    assert all(result.keys() == {"index", "relevance_score"} for result in content["results"])
    assert content["id"]
    assert content["meta"] == {"api_version": {"version": version}}
    assert content["model"].startswith("tiny@")
    assert content["usage"]["total_tokens"] == 0


def test_return_documents_gives_back_what_was_sent(client: TestClient) -> None:
    documents = ["Émile 🎮 laptop", {"title": "Laptop", "ean": ["1"], "price": None}, {"text": "電池"}]
    answer = client.post("/v2/rerank", json={"query": "laptop", "documents": documents, "return_documents": True})
    assert "🎮" in answer.content.decode("utf-8")
    assert {result["index"]: result["document"] for result in answer.json()["results"]} == {0: {"text": documents[0]}, 1: documents[1], 2: documents[2]}


@pytest.mark.parametrize(
    ("document", "as_if"),
    [
        ({"text": "gaming laptop", "title": None}, "gaming laptop"),
        ({"text": "gaming laptop", "title": " "}, "gaming laptop"),
        ({"text": "laptop", "title": "gaming"}, {"title": "gaming", "description": "laptop"}),
        ({"text": "gaming", "title": "desk", "description": "laptop"}, {"title": "desk", "description": "laptop"}),
    ],
)
def test_a_text_beside_a_title_is_its_description(client: TestClient, document: dict[str, Any], as_if: Any) -> None:
    def score(document: Any) -> float:
        answer = client.post("/v2/rerank", json={"query": "gaming laptop", "documents": [document]})
        return float(answer.json()["results"][0]["relevance_score"])

    assert score(document) == score(as_if) > 0.4


@pytest.mark.parametrize(("top_n", "expected"), [(1, 1), (4, 4), (400, 4), (None, 4)])
def test_top_n_cuts_the_results(client: TestClient, top_n: int | None, expected: int) -> None:
    answer = client.post("/v2/rerank", json={"query": "laptop", "documents": DOCUMENTS, "top_n": top_n})
    assert len(answer.json()["results"]) == expected


def test_rerank_in_the_shape_of_text_embeddings_inference(client: TestClient) -> None:
    body = {"query": "gaming laptop", "texts": ["desk", "gaming laptop", "laptop 🎮"], "truncate": True, "truncation_direction": "Right"}
    assert client.post("/rerank", json=body).json() == [
        {"index": 1, "score": pytest.approx(0.982, abs=1e-3)},
        {"index": 2, "score": pytest.approx(0.5)},
        {"index": 0, "score": pytest.approx(0.018, abs=1e-3)},
    ]
    raw = client.post("/rerank", json=body | {"raw_scores": True, "return_text": True}).json()
    assert raw == [
        {"index": 1, "score": 4.0, "text": "gaming laptop"},
        {"index": 2, "score": 0.0, "text": "laptop 🎮"},
        {"index": 0, "score": -4.0, "text": "desk"},
    ]
    cleaned = client.post("/rerank", json=body | {"query": "🎮 gaming\\nlaptop", "raw_scores": True}).json()
    assert [(one["index"], one["score"]) for one in cleaned] == [(1, 4.0), (2, 0.0), (0, -4.0)]  # as for scores of 0 to 1
    assert "The query is empty" in error_of(client.post("/rerank", json=body | {"query": "\\n", "raw_scores": True}), 422)


def test_scores_have_at_most_7_decimals(client: TestClient) -> None:
    """OpenSearch's Cohere post-processor fails on longer numbers."""
    text = client.post("/v2/rerank", json={"query": "gaming laptop tv", "documents": ["laptop", "gaming laptop", "tv gaming laptop", "x"]}).text
    scores = re.findall(r'"relevance_score":\s*([^,}]+)', text)
    assert len(scores) == 4
    assert all(re.fullmatch(r"\d\.\d{1,7}", score) for score in scores), scores


GOOD = {"query": "laptop", "documents": ["laptop"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": ""}, "The query is empty."),
        ({"query": "\x00 \x1b"}, "The query is empty."),
        ({"query": "x" * 10_000}, "The query has 10,000 characters."),
        ({"query": 5}, "query: Input should be a valid string"),
        ({"query": None}, "query: Input should be a valid string"),
        ({"documents": []}, "documents: List should have at least 1 item"),
        ({"documents": "laptop"}, "documents: Input should be a valid list"),
        ({"documents": ["x"] * 1_001}, "documents: List should have at most 1000 items"),
        ({"documents": ["x", "y" * 20_001]}, "documents[1]: has 20,001 characters; at most 20,000 are allowed"),
        ({"documents": [{"text": "y" * 20_001}]}, "documents[0]: has"),
        ({"documents": ["x", 5]}, "documents[1]: expected a string or an object"),
        ({"documents": ["x", None, []]}, "documents[1]: expected a string or an object (and 1 more)"),
        ({"documents": [{"body": "x"}]}, "documents[0]: an object needs a 'text' or a 'title'"),
        ({"documents": [{"text": 5}]}, "documents[0]: an object needs a 'text' or a 'title'"),
        ({"top_n": 0}, "top_n: Input should be greater than or equal to 1"),
        ({"top_n": "many"}, "top_n: Input should be a valid integer"),
        ({"return_documents": "perhaps"}, "return_documents: Input should be a valid boolean"),
    ],
)
def test_bad_rerank_input_gets_a_clear_error(client: TestClient, change: dict[str, Any], message: str) -> None:
    assert error_of(client.post("/v2/rerank", json=GOOD | change), 422).startswith(message)


@pytest.mark.parametrize("endpoint", ["/v1/rerank", "/v2/rerank", "/rerank"])
@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b'{"query": "laptop", "documents": [', 400, "The body is not valid JSON"),
        (b"\xff\xfe\x00", 400, "The body is not valid JSON"),
        (b"[" * 100_000, 422, "body: is nested more than 200 levels deep"),
        (b"", 422, "body: Field required"),
        (b"[]", 422, "body: Input should be a valid dictionary"),
        (b'{"query": "laptop"}', 422, ""),
        (b'{"query": "laptop", "documents": [{"title": "x", "n": NaN}], "texts": [NaN], "return_documents": true}', 422, ""),
        (b'{"query": "laptop", "documents": ["\\ud800"], "texts": ["\\ud800"], "return_documents": true, "return_text": true}', 422, ""),
    ],
    ids=["cut off", "not UTF-8", "nested", "empty", "a list", "no documents", "NaN", "half a surrogate"],
)
def test_a_body_that_is_not_a_request_is_refused(client: TestClient, endpoint: str, body: bytes, status: int, message: str) -> None:
    answer = client.post(endpoint, content=body, headers={"content-type": "application/json"})
    assert error_of(answer, status).startswith(message)


def test_deeply_nested_attributes_are_scored_or_refused(client: TestClient) -> None:
    for depth in (10, 100, 300, 900, 940, 960, 980, 990, 995):
        body = '{"query": "x", "return_documents": true, "documents": [{"title": "x", "attributes": ' + '{"a":' * depth + "1" + "}" * depth + "}]}"
        answer = client.post("/v2/rerank", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (200, 400, 422), (depth, answer.text)


def test_the_largest_request_within_the_limits_is_answered(client: TestClient) -> None:
    answer = client.post("/rerank", json={"query": "laptop " * 142, "texts": ["laptop " * 2_857] * 1_000})
    assert answer.status_code == 200
    assert len(answer.json()) == 1_000


def test_a_body_that_is_too_large_is_refused_announced_or_not(reranker: Reranker) -> None:
    with TestClient(create_app(reranker, limits=Limits(max_body_bytes=1_000))) as client:
        large = json.dumps({"query": "laptop", "texts": ["x" * 2_000]}).encode()
        headers = {"content-type": "application/json"}
        assert "larger than 1,000 bytes" in error_of(client.post("/rerank", content=large, headers=headers), 413)
        assert "larger than 1,000 bytes" in error_of(client.post("/rerank", content=iter([large[:900], large[900:]]), headers=headers), 413)
        assert client.post("/rerank", json={"query": "laptop", "texts": ["x"]}).status_code == 200


def test_a_score_that_is_not_finite_is_an_error(reranker: Reranker, monkeypatch: pytest.MonkeyPatch, client: TestClient) -> None:
    monkeypatch.setattr(reranker, "score", lambda query, products: np.full(len(products), np.nan, np.float32))
    assert error_of(client.post("/v2/rerank", json=GOOD), 500) == "The student gave unusable scores."


def test_an_unexpected_error_shows_no_details(reranker: Reranker, monkeypatch: pytest.MonkeyPatch, client: TestClient) -> None:
    def fail(query: str, products: list[str]) -> None:
        raise RuntimeError("secret path /etc/x")

    monkeypatch.setattr(reranker, "score", fail)
    assert error_of(client.post("/v2/rerank", json=GOOD), 500) == "The service failed: RuntimeError."


def test_search_returns_ranks_scores_and_times(client: TestClient) -> None:
    answer = client.get("/search", params={"q": "gaming laptop", "size": 2}).json()
    assert (answer["query"], answer["reranked"], answer["fallback_reason"]) == ("gaming laptop", True, None)
    assert answer["scored"] == 4
    assert [result["rank"] for result in answer["results"]] == [1, 2]
    first = answer["results"][0]
    assert (first["id"], first["student_score"]) == ("rog", pytest.approx(0.982, abs=1e-3))
    assert first["product"]["brand"] == "ASUS"
    assert answer["took_ms"].keys() == {"first_stage", "rerank", "total"}


def test_search_in_bm25_order_and_by_pages(client: TestClient) -> None:
    plain = client.get("/search", params={"q": "laptop", "rerank": "false"}).json()
    assert (plain["reranked"], plain["fallback_reason"]) == (False, "not asked for")
    assert [result["bm25_rank"] for result in plain["results"]] == [1, 2, 3, 4]
    page = client.get("/search", params={"q": "laptop", "rerank": "false", "start": 1, "size": 2}).json()
    assert page["results"] == plain["results"][1:3]


def test_search_keeps_unicode_and_other_fields(client: TestClient) -> None:
    answer = client.get("/search", params={"q": "écran 🎮 d’été\x00"})
    assert answer.json()["query"] == "écran 🎮 d’été"
    assert answer.json()["results"][0]["product"] == PRODUCTS[2]


def test_search_that_finds_nothing(client: TestClient) -> None:
    answer = client.get("/search", params={"q": "🎃"})
    assert answer.status_code == 200
    assert (answer.json()["results"], answer.json()["fallback_reason"]) == ([], "the first stage found nothing")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "q: Field required"),
        ({"q": ""}, "The query is empty."),
        ({"q": "\x00\x07"}, "The query is empty."),
        ({"q": "x" * 10_000}, "The query has 10,000 characters."),
        ({"q": "laptop", "k": 0}, "k is 0."),
        ({"q": "laptop", "k": 100_000}, "k is 100,000."),
        ({"q": "laptop", "k": "all"}, "k: Input should be a valid integer"),
        ({"q": "laptop", "size": 0}, "size: Input should be greater"),
        ({"q": "laptop", "size": 1_001}, "size: Input should be less"),
        ({"q": "laptop", "start": -1}, "start: Input should be greater"),
        ({"q": "laptop", "start": 10_000}, "Results 10,000 to 10,010 were asked for."),
        ({"q": "laptop", "rerank": "perhaps"}, "rerank: Input should be a valid boolean"),
    ],
)
def test_bad_search_input_gets_a_clear_error(client: TestClient, parameters: dict[str, Any], message: str) -> None:
    assert error_of(client.get("/search", params=parameters), 422).startswith(message)


def test_a_failing_student_does_not_fail_the_search(client: TestClient, reranker: Reranker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reranker, "score", lambda query, products: np.full(len(products), np.nan))
    answer = client.get("/search", params={"q": "laptop"})
    assert answer.status_code == 200
    assert (answer.json()["reranked"], answer.json()["fallback_reason"]) == (False, "the student gave unusable scores")
    assert 'reranker_searches_not_reranked_total{reason="the student gave unusable scores"} 1.0' in client.get("/metrics").text


def test_search_works_once_the_first_stage_is_up(reranker: Reranker, index: Path) -> None:
    up = False

    def open_it() -> EmbeddedFirstStage:
        if not up:
            raise FirstStageError("OpenSearch at http://nowhere does not answer.", hint="Is it running?")
        return EmbeddedFirstStage(index)

    with TestClient(create_app(reranker, TwoStageSearch(LateFirstStage("opensearch", open_it, retry_s=0), reranker))) as client:
        assert client.get("/health").json() == {"status": "alive"}
        ready = client.get("/ready")
        assert (ready.status_code, ready.json()["ready"]) == (503, False)
        assert ready.json()["first_stage"]["error"] == {"message": "The first stage does not answer.", "hint": "The service's log says why."}
        assert error_of(client.get("/search", params={"q": "laptop"}), 503) == "OpenSearch at http://nowhere does not answer."
        assert client.post("/v2/rerank", json=GOOD).status_code == 200
        up = True
        assert client.get("/search", params={"q": "laptop"}).status_code == 200
        ready = client.get("/ready")
        assert (ready.status_code, ready.json()["first_stage"]) == (200, {"name": "embedded", "products": 5})


def test_a_service_without_a_first_stage_reranks(reranker: Reranker) -> None:
    with TestClient(create_app(reranker)) as client:
        assert "without a first stage" in error_of(client.get("/search", params={"q": "laptop"}), 503)
        assert client.get("/ready").json() == {"ready": True, "student": f"tiny@{reranker.bundle.version}", "first_stage": None}
        assert client.post("/v2/rerank", json=GOOD).status_code == 200


def test_metrics_count_requests_stages_and_fallbacks(client: TestClient) -> None:
    client.post("/v2/rerank", json=GOOD)
    client.post("/v2/rerank", json=GOOD | {"query": ""})
    client.get("/search", params={"q": "laptop"})
    client.get("/search", params={"q": "laptop", "rerank": "false"})
    client.get("/wp-admin")
    client.get("/wp-login")
    metrics = client.get("/metrics").text
    for line in (
        'reranker_requests_total{endpoint="/v2/rerank",status="200"} 1.0',
        'reranker_requests_total{endpoint="/v2/rerank",status="422"} 1.0',
        'reranker_requests_total{endpoint="/search",status="200"} 2.0',
        'reranker_requests_total{endpoint="other",status="404"} 2.0',
        'reranker_stage_seconds_count{stage="first_stage"} 2.0',
        "reranker_documents_scored_total 5.0",  # one posted, four hits
        'reranker_searches_not_reranked_total{reason="not asked for"} 1.0',
    ):
        assert line in metrics.splitlines(), metrics


def test_unknown_paths_and_methods(client: TestClient) -> None:
    assert error_of(client.get("/nowhere"), 404) == "There is no GET /nowhere."
    assert error_of(client.get("/v2/rerank"), 405) == "There is no GET /v2/rerank."


def test_the_description_names_every_endpoint(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    inside_opensearch = {"/opensearch/request", "/opensearch/rerank"}
    assert paths.keys() == {"/v2/rerank", "/v1/rerank", "/rerank", "/search", "/health", "/ready", "/metrics", *inside_opensearch}


def test_the_docs_page_loads_everything_from_the_service(client: TestClient) -> None:
    page = client.get("/docs").text
    assert "/openapi.json" in page
    assets = re.findall(r"""(?:src|href)=["']([^"']+)["']""", page)
    assert any(asset.endswith(".js") for asset in assets)
    for asset in assets:
        assert asset.startswith("/")
        assert not asset.startswith("//")
        assert client.get(asset).status_code == 200, asset


def test_answers_still_have_the_old_key_of_the_fallback_reason(client: TestClient) -> None:
    found = client.get("/search", params={"q": "laptop", "rerank": False}).json()
    assert found["why_not"] == found["fallback_reason"] == "not asked for"
    reranked = client.get("/search", params={"q": "laptop"}).json()
    assert (reranked["why_not"], reranked["fallback_reason"]) == (None, None)
    settings = {"fields": {"title": "title"}}
    body = {"request": {"query": {"match": {"title": "laptop"}}, "size": 0}, "settings": settings}
    rewritten = client.post("/opensearch/request", json=body).json()
    assert rewritten["why_not"] == rewritten["fallback_reason"] == "the page is empty"
    scored = client.post("/opensearch/rerank", json={"request": {"query": {"match": {"title": "laptop"}}}, "settings": settings, "documents": [{}]}).json()
    assert scored["why_not"] == scored["fallback_reason"]
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    for name in ("SearchAnswer", "RewrittenAnswer", "HitsAnswer"):
        assert schemas[name]["properties"]["why_not"]["deprecated"] is True


# --- the commands -------------------------------------------------------------------------------------------------------

COMMAND = [sys.executable, "-c", "from reranker.cli.app import main; main()"]


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    path = tmp_path / "catalog.jsonl"
    path.write_text("".join(json.dumps(product, ensure_ascii=False) + "\n" for product in PRODUCTS), encoding="utf-8")
    return path


@pytest.fixture
def serving(bundle: Path, catalog: Path, tmp_path: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]:
    """Start `reranker serve` with further arguments and return the process and its address."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [*COMMAND, "serve", "--port", "0", "--bundle", str(bundle), "--threads", "1", *arguments],
            env={**os.environ, "RERANKER_HOME": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=(tmp_path / "stderr").open("w"),
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        found = re.search(r"http://[\d.]+:\d+", process.stdout.readline())
        assert found, (tmp_path / "stderr").read_text()
        return process, found.group()

    yield start
    for process in started:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def test_sigterm_lets_a_request_in_flight_finish_and_exits_with_0(serving: Callable[..., Any], catalog: Path) -> None:
    process, url = serving("--catalog", str(catalog))
    host, port = url.removeprefix("http://").split(":")
    body = json.dumps({"query": "laptop", "texts": ["laptop"]}).encode()
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        head = f"POST /rerank HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
        connection.sendall(head.encode())
        assert b"100 Continue" in connection.recv(1_000)  # the service has begun to read the request
        process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 60
        while True:  # until it takes no more connections
            try:
                socket.create_connection((host, int(port)), timeout=60).close()
            except ConnectionRefusedError:
                break
            assert time.monotonic() < deadline
            time.sleep(0.05)
        connection.sendall(body)
        answer = b""
        while piece := connection.recv(10_000):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"index":0' in answer
    assert process.wait(60) == 0


def test_serve_without_its_cluster_reranks_and_says_why_it_cannot_search(serving: Callable[..., Any], tmp_path: Path) -> None:
    with socket.socket() as reserved:  # bound, never listening: nothing answers there
        reserved.bind(("127.0.0.1", 0))
        _, url = serving("--opensearch", f"http://127.0.0.1:{reserved.getsockname()[1]}")
        assert "/search is not available yet" in (tmp_path / "stderr").read_text()
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{url}/search?q=laptop")
        assert caught.value.code == 503
        assert json.load(caught.value)["error"]["message"]
        caught.value.close()
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{url}/search?q={'%F0%9F%8E%AE' * 4_000}")
    assert caught.value.code == 422
    assert json.load(caught.value)["error"]["message"] == "The query has 4,000 characters."
    caught.value.close()
    request = urllib.request.Request(f"{url}/v2/rerank", json.dumps(GOOD).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        assert len(json.load(answer)["results"]) == 1


def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run `reranker …` in this process and return exit code, output and errors."""
    monkeypatch.setattr(sys, "argv", ["reranker", *arguments])
    try:
        main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, out, err


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setenv("RERANKER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("COLUMNS", raising=False)
    return lambda *arguments: command(monkeypatch, capsys, *arguments)


@pytest.mark.parametrize("name", ["serve", "demo"])
def test_a_port_in_use_gets_a_clear_error(run: Callable[..., tuple[int, str, str]], name: str, bundle: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = run(name, "--port", str(port), "--bundle", str(bundle))
    assert code == 2
    assert f"Cannot listen on 127.0.0.1 port {port}" in err
    assert "--port" in err


def test_search_prints_both_orders_side_by_side(run: Callable[..., tuple[int, str, str]], bundle: Path, catalog: Path) -> None:
    code, out, _ = run("search", "gaming laptop", "--bundle", str(bundle), "--catalog", str(catalog))
    assert code == 0
    assert re.search(r"^BM25 +Reranked", out, re.MULTILINE)
    assert re.search(r"1 +(▲\d|=) +0\.982 +Gaming laptop", out)
    assert "4 hits reranked in" in out
    assert "\x1b" not in out
    assert "[bold]red[/bold]" in out


def test_search_as_json(run: Callable[..., tuple[int, str, str]], bundle: Path, catalog: Path) -> None:
    code, out, _ = run("search", "gaming laptop", "--bundle", str(bundle), "--catalog", str(catalog), "--json", "--size", "2")
    assert code == 0
    answer = json.loads(out)
    assert answer["reranked"] is True
    assert [result["rank"] for result in answer["results"]] == [1, 2]
    assert answer["results"][0]["id"] == "rog"


def test_search_in_a_narrow_terminal_gives_one_list(
    run: Callable[..., tuple[int, str, str]], bundle: Path, catalog: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    code, out, _ = run("search", "gaming laptop", "--bundle", str(bundle), "--catalog", str(catalog))
    assert code == 0
    assert "BM25 " not in out.splitlines()[0]
    assert max(len(line) for line in out.splitlines()) <= 40


def test_search_without_reranking_needs_no_student(run: Callable[..., tuple[int, str, str]], catalog: Path, tmp_path: Path) -> None:
    code, out, _ = run("search", "laptop", "--no-rerank", "--bundle", str(tmp_path / "nowhere"), "--catalog", str(catalog))
    assert code == 0
    assert "not reranked: not asked for" in out
    assert "Reranked" not in out


def test_search_that_finds_nothing_says_so(run: Callable[..., tuple[int, str, str]], bundle: Path, catalog: Path) -> None:
    code, out, _ = run("search", "🎃 zzzz", "--bundle", str(bundle), "--catalog", str(catalog))
    assert (code, out) == (0, 'No products found for "🎃 zzzz".\n')


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([""], 2, "The query is empty."),
        (["\x1b\t"], 2, "The query is empty."),
        (["x" * 10_000], 2, "The query has 10,000 characters."),
        (["laptop", "--k", "0"], 2, "k is 0."),
        (["laptop", "--k", "100000"], 2, "k is 100,000."),
        (["laptop", "--size", "0"], 2, "size is 0."),
        (["laptop", "--bundle", "nowhere"], 3, "There is no bundle at nowhere."),
        (["laptop", "--no-rerank", "--catalog", "nowhere.jsonl"], 2, "There is no catalogue at nowhere.jsonl."),
    ],
)
def test_bad_search_arguments_get_a_clear_error(run: Callable[..., tuple[int, str, str]], arguments: list[str], code: int, message: str) -> None:
    ended, out, err = run("search", *arguments)
    assert (ended, out) == (code, "")
    assert message in err


def test_search_piped_into_head_ends_quietly(bundle: Path, catalog: Path, tmp_path: Path) -> None:
    arguments = ["search", "laptop", "--json", "--bundle", str(bundle), "--catalog", str(catalog)]
    process = subprocess.Popen(
        [*COMMAND, *arguments], env={**os.environ, "RERANKER_HOME": str(tmp_path / "home")}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait(60)
