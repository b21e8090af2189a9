"""Overload: searches return BM25 order at once, and scorings are refused at once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from reranker import Hit, Product, Reranker, TwoStageSearch
from reranker.bundle import load_bundle
from reranker.errors import NoTimeError
from reranker.search import TOO_MANY_WAIT, WOULD_BE_LATE
from reranker.service import create_app
from reranker.service.deadline import LoopLag
from reranker.service.engine import Engine
from reranker.service.limits import Limits
from reranker.service.work_queue import WorkQueue
from reranker.time_estimate import RerankTimeEstimate, TimeEstimate
from tests.served import until

BODY = {"query": "laptop", "documents": ["desk", "laptop"]}
HITS = {"request": {"query": {"match": {"title": "laptop"}}}, "documents": [{"title": "Desk"}, {"title": "Laptop"}], "settings": {"fields": {"title": "title"}}}
AGES_S = 1e6  # an estimate that fades by half a second stays beyond any deadline for as long as a test takes


class Gated(Reranker):
    """A student that scores when its gate is open, and records what it began."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.gate, self.begun = threading.Event(), list[str]()

    def score(self, query: str, products: Sequence[Product | str]) -> np.ndarray:
        self.begun.append(query)
        assert self.gate.wait(60)
        return super().score(query, products)


class Shelf:
    """A first stage with a gate that finds a desk before a laptop."""

    name = "shelf"
    in_process = False

    in_process = False

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()

    def search(self, query: str, k: int) -> list[Hit]:
        assert self.gate.wait(60)
        return [Hit("desk", 2.0, 1, {"id": "desk", "title": "Desk"}), Hit("laptop", 1.0, 2, {"id": "laptop", "title": "Laptop"})][:k]

    def count(self) -> int:
        return 2

    def close(self) -> None: ...


class Service:
    """The service over a gated student and first stage."""

    def __init__(self, bundle: Path) -> None:
        self.student = Gated(load_bundle(bundle), threads=1)
        self.first_stage = Shelf()
        self.clients: list[TestClient] = []

    def client(self, *, budget_ms: float | None = None, **limits: Any) -> TestClient:
        self.searcher = TwoStageSearch(self.first_stage, self.student, budget_ms=budget_ms)  # type: ignore[arg-type]
        app = create_app(self.student, self.searcher, limits=Limits(**limits))
        self.engine: Engine = app.state.engine
        client = TestClient(app, raise_server_exceptions=False)
        self.clients.append(client.__enter__())
        return client

    def open(self) -> None:
        self.student.gate.set()
        self.first_stage.gate.set()


@pytest.fixture
def service(bundle: Path) -> Iterator[Service]:
    service = Service(bundle)
    yield service
    service.open()
    for client in service.clients:
        client.__exit__(None, None, None)


def search(client: TestClient, query: str = "laptop", **parameters: Any) -> Any:
    return client.get("/search", params={"q": query, **parameters})


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [result["id"] for result in answer.json()["results"]]


def has(client: TestClient, *lines: str) -> bool:
    return set(lines) <= set(client.get("/metrics").text.splitlines())


def test_searches_over_the_waiting_limit_return_bm25_order_at_once(service: Service) -> None:
    client = service.client(concurrency=1, max_waiting=20)
    with ThreadPoolExecutor(60) as pool:
        waiting = [pool.submit(search, client) for _ in range(21)]
        until(lambda: has(client, 'reranker_waiting{stage="search"} 20.0'))
        beyond = list(pool.map(lambda _: search(client), range(20)))  # answered while the student answers nobody
        assert all(ids(answer) == ["desk", "laptop"] and answer.json()["fallback_reason"] == TOO_MANY_WAIT for answer in beyond)
        assert has(client, f'reranker_searches_not_reranked_total{{reason="{TOO_MANY_WAIT}"}} 20.0')
        assert ids(search(client, rerank=False)) == ["desk", "laptop"]  # who does not want the student does not wait for it
        service.open()
        assert all(ids(answer.result()) == ["laptop", "desk"] for answer in waiting)
    assert ids(search(client)) == ["laptop", "desk"]
    assert len(service.student.begun) == 22
    assert "reranker_refused_total{" not in client.get("/metrics").text


def test_quick_searches_in_this_process_need_no_thread_after_the_first(service: Service) -> None:
    threads = list[str]()
    find = service.first_stage.search

    def noted(query: str, k: int) -> list[Hit]:
        threads.append(threading.current_thread().name.partition("_")[0])
        if query == "slow":
            spent = time.thread_time() + 0.02
            while time.thread_time() < spent:
                pass
        return find(query, k)

    service.first_stage.search = noted  # type: ignore[method-assign]
    client = service.client()
    for _ in range(2):  # that first stage does not say that it computes here
        search(client, rerank=False)
    assert threads == ["bm25", "bm25"]
    service.first_stage.in_process = True
    search(client, "slow", rerank=False)
    assert threads[2] != "bm25"
    for _ in range(2):
        search(client, "slow", rerank=False)
    assert threads[3:] == ["bm25", "bm25"]  # now known to be slow: the loop is kept free of it
    assert ids(search(client, rerank=False)) == ["desk", "laptop"]


def test_a_search_is_refused_if_the_first_stage_is_overloaded_too(service: Service) -> None:
    client = service.client(concurrency=1, max_waiting=1)
    with ThreadPoolExecutor(4) as pool:
        pool.submit(search, client)
        until(lambda: service.student.begun)
        pool.submit(search, client)
        until(lambda: has(client, 'reranker_waiting{stage="search"} 1.0'))
        service.first_stage.gate.clear()
        in_bm25_order = [pool.submit(search, client) for _ in range(2)]
        until(lambda: has(client, 'reranker_waiting{stage="bm25"} 1.0'))
        refused = search(client)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert has(client, 'reranker_refused_total{reason="busy"} 1.0')
        service.open()
        assert all(answer.result().json()["fallback_reason"] == TOO_MANY_WAIT for answer in in_bm25_order)


def test_a_student_that_would_be_late_is_not_asked(service: Service) -> None:
    client = service.client()
    service.searcher.rerank_time.observe(AGES_S, 2)
    answer = search(client)
    assert ids(answer) == ["desk", "laptop"]
    assert (answer.json()["reranked"], answer.json()["fallback_reason"]) == (False, WOULD_BE_LATE)
    assert service.student.begun == []
    assert has(client, f'reranker_searches_not_reranked_total{{reason="{WOULD_BE_LATE}"}} 1.0')


def test_a_search_that_waited_longer_than_its_budget_returns_bm25_order(service: Service) -> None:
    client = service.client(budget_ms=30, concurrency=1)
    with ThreadPoolExecutor(4) as pool:
        answers = [answer.result().json() for answer in [pool.submit(search, client, f"laptop {i}") for i in range(4)]]
    assert {answer["fallback_reason"] for answer in answers} <= {WOULD_BE_LATE, "the student took longer than its 30 ms"}
    assert all([result["bm25_rank"] for result in answer["results"]] == [1, 2] for answer in answers)


def test_a_search_does_not_wait_for_a_student_over_its_budget(service: Service) -> None:
    client = service.client(budget_ms=30, concurrency=1)
    answer = search(client)
    assert ids(answer) == ["desk", "laptop"]
    assert answer.json()["fallback_reason"] == "the student took longer than its 30 ms"
    service.open()
    until(lambda: search(client).json()["reranked"])


def test_the_event_loops_lag_counts_as_waiting_time(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    client = service.client(budget_ms=10_000)
    monkeypatch.setattr(LoopLag, "both_ways_s", lambda _: 15.0)
    assert search(client).json()["fallback_reason"] == WOULD_BE_LATE
    assert client.post("/opensearch/rerank", json=HITS).json()["fallback_reason"] == WOULD_BE_LATE
    assert service.student.begun == []
    assert "reranker_event_loop_lag_seconds" in client.get("/metrics").text


def test_with_a_lagging_event_loop_only_health_and_metrics_answer(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    client = service.client()
    monkeypatch.setattr(LoopLag, "both_ways_s", lambda _: 30.5)
    for refused in (search(client), client.post("/v2/rerank", json=BODY)):
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "31")
        assert "too busy to answer in time" in refused.json()["error"]["message"]
    assert [client.get(path).status_code for path in ("/health", "/ready", "/metrics")] == [200] * 3
    assert has(client, 'reranker_refused_total{reason="no time"} 2.0')


def test_the_event_loops_lag_is_measured() -> None:
    async def run() -> float:
        lag = LoopLag()
        async with lag.watched():
            while lag.seconds < 0.01:
                await asyncio.sleep(0)
                time.sleep(0.1)  # what blocks the loop
        return lag.both_ways_s()

    assert asyncio.run(run()) >= 0.02


@pytest.mark.parametrize("late", [{"waited_s": 1.0}, {"until": 0.0}])
def test_the_student_is_not_asked_after_the_deadline(service: Service, late: dict[str, float]) -> None:
    response = TwoStageSearch(service.first_stage, service.student, budget_ms=1_000).search("laptop", **late)  # type: ignore[arg-type]
    assert (response.reranked, response.fallback_reason) == (False, WOULD_BE_LATE)
    assert service.student.begun == []


@pytest.mark.parametrize(("path", "documents"), [("/v2/rerank", "documents"), ("/v1/rerank", "documents"), ("/rerank", "texts")])
def test_a_rerank_that_would_be_late_is_refused_at_once(service: Service, path: str, documents: str) -> None:
    client = service.client()
    service.engine._rerank_time.observe(AGES_S)
    refused = client.post(path, json={"query": "laptop", documents: ["desk", "laptop"]})
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["error"]["message"] == "The service is busy: the request would not be done before its time-out."
    assert service.student.begun == []
    assert has(client, 'reranker_refused_total{reason="no time"} 1.0')


def test_hits_of_a_pipeline_keep_bm25_order_if_the_student_would_be_late(service: Service) -> None:
    client = service.client()
    service.engine._rerank_time.observe(AGES_S)
    answer = client.post("/opensearch/rerank", json=HITS).json()
    assert answer["fallback_reason"] == WOULD_BE_LATE
    assert answer["scores"] == sorted(answer["scores"], reverse=True)
    assert service.student.begun == []
    assert has(client, f'reranker_searches_not_reranked_total{{reason="{WOULD_BE_LATE}"}} 1.0')


def test_hits_of_a_pipeline_keep_bm25_order_if_too_many_wait(service: Service) -> None:
    client = service.client(concurrency=1, max_waiting=0)
    with ThreadPoolExecutor(1) as pool:
        scoring = pool.submit(client.post, "/v2/rerank", json=BODY)
        until(lambda: service.student.begun)
        answer = client.post("/opensearch/rerank", json=HITS).json()
        assert answer["fallback_reason"] == TOO_MANY_WAIT
        assert answer["scores"] == sorted(answer["scores"], reverse=True)
        service.open()
        assert scoring.result().status_code == 200


def test_a_task_is_refused_if_those_before_it_take_too_long() -> None:
    queue, begun, gate = WorkQueue("work", concurrency=1, max_waiting=10), threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        assert gate.wait(60)

    async def run() -> None:
        assert queue.expected_wait_s() == 0
        queue._time.observe(8.0)
        assert queue.expected_wait_s() == 0  # a thread is free
        first = asyncio.ensure_future(queue.run(wait))
        await asyncio.to_thread(begun.wait, 60)
        assert queue.expected_wait_s() == 4
        second = asyncio.ensure_future(queue.run(lambda: 2, size=3))
        await asyncio.sleep(0)
        assert queue.expected_wait_s() == 28
        with pytest.raises(NoTimeError) as caught:
            await queue.run(lambda: 3, within_s=29, takes_s=1.5)
        assert caught.value.retry_after_s == 28
        with pytest.raises(NoTimeError):
            await queue.run(lambda: 4, begin_within_s=0.01)
        assert queue.waiting() == 1  # it was taken back
        gate.set()
        assert (await first, await second) == (None, 2)
        assert queue.waiting() == 0
        assert await queue.run(lambda: 5, begin_within_s=60) == 5

    try:
        asyncio.run(run())
    finally:
        gate.set()
        queue.close()


def test_the_estimate_follows_the_latest_and_fades_where_nothing_is_measured() -> None:
    now = [0.0]
    pace = TimeEstimate(half_life_s=1.0, clock=lambda: now[0])
    assert pace.expected_s() == pace.expected_s(100) == 0
    pace.observe(2.0, 10)
    assert (pace.expected_s(), pace.expected_s(5)) == (2.0, 1.0)
    pace.observe(1.0, 10)
    assert 1.0 < pace.expected_s() < 1.5
    for _ in range(30):
        pace.observe(1.0, 10)
    assert pace.expected_s() == pytest.approx(1.0, abs=0.01)
    now[0] += 2.0
    assert pace.expected_s() == pytest.approx(0.25, abs=0.01)
    pace.begin()  # one tries: the others wait for what it shows
    assert pace.expected_s() == pytest.approx(1.0, abs=0.01)
    now[0] += 20.0
    pace.observe(0.1, 10)  # what was measured long ago weighs nothing
    assert pace.expected_s() == pytest.approx(0.1, abs=0.01)


def test_what_is_computed_once_says_nothing_of_the_next_scoring() -> None:
    pace, student = RerankTimeEstimate(), Reranker.load()
    with pace.measured(student, 1):
        student.score("laptop", ["Laptop bag"])
    assert pace.expected_s() == 0
    with pace.measured(student, 1):
        student.score("laptop", ["Laptop bag"])
    assert pace.expected_s() > 0
