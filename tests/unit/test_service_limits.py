"""Limits: what the service refuses, and that dropped work frees its place."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from reranker import Product, Reranker, TwoStageSearch
from reranker.bundle import load_bundle
from reranker.embedded import EmbeddedFirstStage, build_index
from reranker.service import create_app
from reranker.service.limits import Limits
from reranker.service.server import bind, run_until_stopped

BODY = {"query": "laptop", "documents": ["laptop"]}


class Gated(Reranker):
    """A student that scores when its gate is open, and records what it began."""

    def open_gate(self) -> None:
        self.gate.set()

    def close_gate(self) -> None:
        self.gate, self.begun = threading.Event(), []  # type: ignore[var-annotated]

    def score(self, query: str, products: Sequence[Product | str]) -> np.ndarray:
        self.begun.append(query)
        assert self.gate.wait(60)
        return super().score(query, products)


@pytest.fixture
def student(bundle: Path) -> Iterator[Gated]:
    student = Gated(load_bundle(bundle), threads=1)
    student.close_gate()
    yield student
    student.open_gate()


def client_of(app: FastAPI) -> TestClient:
    return TestClient(app, raise_server_exceptions=False)


def until(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_scorings_over_the_waiting_limit_are_refused_at_once(student: Gated) -> None:
    with client_of(create_app(student, limits=Limits(concurrency=1, max_waiting=2))) as client, ThreadPoolExecutor(3) as pool:
        accepted = [pool.submit(client.post, "/v2/rerank", json=BODY) for _ in range(3)]
        until(lambda: 'reranker_waiting{stage="rerank"} 2.0' in client.get("/metrics").text)
        refused = client.post("/v2/rerank", json=BODY)  # answered though nothing is done
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert "busy" in refused.json()["error"]["message"]
        assert client.get("/health").status_code == 200
        student.open_gate()
        assert [answer.result().status_code for answer in accepted] == [200] * 3
        assert client.post("/v2/rerank", json=BODY).status_code == 200
        assert 'reranker_refused_total{reason="busy"} 1.0' in client.get("/metrics").text


def test_a_late_rerank_gets_503_and_waiting_ones_never_start(student: Gated) -> None:
    with client_of(create_app(student, limits=Limits(concurrency=1, timeout_ms=150))) as client:
        with ThreadPoolExecutor(3) as pool:
            late = list(pool.map(lambda i: client.post("/v2/rerank", json=BODY | {"query": f"laptop {i}"}), range(3)))
        assert [answer.status_code for answer in late] == [503] * 3
        assert all("time-out passed" in answer.json()["error"]["message"] and answer.headers["retry-after"] for answer in late)
        assert len(student.begun) == 1
        student.open_gate()
        until(lambda: client.post("/v2/rerank", json=BODY | {"query": "after"}).status_code == 200)
        assert set(student.begun[1:]) == {"after"}
        assert 'reranker_refused_total{reason="late"}' in client.get("/metrics").text


def test_a_search_with_a_late_student_returns_bm25_order_in_time(student: Gated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reranker.service.engine._FOR_THE_PAGE_S", 1.0)  # a machine that stands still for a moment is not what is tested
    build_index(tmp_path / "index", [{"id": "1", "title": "Laptop"}, {"id": "2", "title": "Laptop bag"}])
    with client_of(create_app(student, TwoStageSearch(EmbeddedFirstStage(tmp_path / "index"), student), limits=Limits(timeout_ms=3_000))) as client:
        answer = client.get("/search", params={"q": "laptop"})
        assert answer.status_code == 200
        assert (answer.json()["reranked"], answer.json()["model"]) == (False, None)
        assert answer.json()["fallback_reason"] == "the request's time was up before the student was done"
        assert [result["bm25_rank"] for result in answer.json()["results"]] == [1, 2]
        student.open_gate()
        until(lambda: client.get("/search", params={"q": "laptop"}).json()["reranked"])
        assert client.get("/search", params={"q": "laptop"}).json()["model"] == student.model


def test_documents_over_the_services_limit_get_422(student: Gated) -> None:
    student.open_gate()
    with client_of(create_app(student, limits=Limits(max_documents=2))) as client:
        assert client.post("/v2/rerank", json={"query": "x", "documents": ["a", "b"]}).status_code == 200
        for path, field in (("/v2/rerank", "documents"), ("/rerank", "texts")):
            answer = client.post(path, json={"query": "x", field: ["a", "b", "c"]})
            assert answer.status_code == 422
            assert answer.json()["error"]["message"] == "The request has 3 documents; at most 2 are allowed."


def test_a_slow_upload_gets_408(student: Gated) -> None:
    """Over a real connection: sending single bytes does not extend the time-out."""
    listener = bind("127.0.0.1", 0)
    app = create_app(student, limits=Limits(timeout_ms=300))
    threading.Thread(target=run_until_stopped, args=(app, listener), kwargs={"on_start": lambda: None}, daemon=True).start()
    with socket.create_connection(listener.getsockname(), timeout=30) as connection:
        connection.sendall(b"POST /v2/rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
        answer = b""
        connection.settimeout(0.05)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                piece = connection.recv(10_000)
                if not piece:
                    break  # closed by the service
            except TimeoutError:
                connection.send(b" ")
                continue
            except ConnectionError:
                break
            answer += piece
    assert answer.startswith(b"HTTP/1.1 408"), answer
    assert json.loads(answer.split(b"\r\n\r\n")[1])["error"]["message"] == "The request body did not arrive within 300 ms."
