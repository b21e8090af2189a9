"""What a searcher gets while the reranker fails in every way we know: BM25's order, never an error or a wrong page.

Each test adds a row to the table of faults; ``FAULT_TABLE=docs/faults.md pytest tests/integration/test_search_pipeline_faults.py``
writes it to a file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from opensearchpy import OpenSearch
from opensearchpy.exceptions import OpenSearchException

from reranker.reranker import Reranker
from tests.balancer import balanced
from tests.commands import run_command
from tests.faulty_proxy import FaultyProxy
from tests.opensearch_cluster import NAMES as NODES
from tests.opensearch_cluster import OpenSearchCluster
from tests.served import Served, free_port, served
from tests.served import until as wait_for

pytestmark = pytest.mark.integration

QUERIES = ["laptop", "usb cable", "hp toner", "wireless mouse", "monitor", "ssd", "laptop bag", "digital camera"]
BUDGET_MS = 700
NAME = "faulty"


class Row(NamedTuple):
    """A fault and what the searchers got: how many searches in which order, how many wrong results and errors, the slowest in ms.

    ``page``: the hits of BM25's page, reranked among themselves, where the service missed only the request to fetch more.
    ``partial``: OpenSearch had lost a shard and says so; what hits it has are in either order.
    """

    fault: str
    reranked: int
    page: int
    bm25: int
    partial: int
    wrong: int
    errors: int
    slowest_ms: float


ROWS: list[Row] = []


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    """Replaces the rows of the table in the page that FAULT_TABLE names; the text above the rows stays."""
    yield
    if path := os.environ.get("FAULT_TABLE"):
        page = Path(path)
        text = page.read_text(encoding="utf-8").partition("|---|")[0]
        rows = [
            f"| {row.fault} | {row.reranked:,} | {row.page:,} | {row.bm25:,} | {row.partial:,} | {row.wrong} | {row.errors} | {row.slowest_ms:,.0f} |"
            for row in ROWS
        ]
        page.write_text("\n".join([f"{text}|---|---|---|---|---|---|---|---|", *rows, ""]), encoding="utf-8")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run_command(*arguments)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(service: Served) -> Iterator[FaultyProxy]:
    with FaultyProxy(service.url) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def sound(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "proxy" in request.fixturenames:
        request.getfixturevalue("proxy").fault = ""


@contextmanager
def installed(opensearch_url: str, service: str, index: str, name: str = NAME) -> Iterator[str]:
    arguments = ["--opensearch", opensearch_url, "--index", index, "--name", name]
    done = run("pipeline", "install", *arguments, "--service", service, "--budget-ms", str(BUDGET_MS))
    assert "search pipeline" in done.stdout, done.stdout + done.stderr
    try:
        yield name
    finally:
        assert run("pipeline", "remove", *arguments).returncode == 0


@pytest.fixture(scope="module")
def pipeline(opensearch_url: str, demo_index: str, proxy: FaultyProxy, host_of_containers: str) -> Iterator[str]:
    with installed(opensearch_url, f"http://{host_of_containers}:{proxy.port}", demo_index) as name:
        yield name


class Searchers:
    """Clients that search through a pipeline, and know both orders that are right."""

    def __init__(self, url: str | list[str], index: str, pipeline: str) -> None:
        self.index, self.pipeline = index, pipeline
        self.client = OpenSearch(url, timeout=60, max_retries=0, pool_maxsize=256)
        pages = {query: self.search(query, "_none") for query in QUERIES}
        assert not any(_misses_a_shard(page) for page in pages.values())
        self.bm25 = {query: self._ids(page) for query, page in pages.items()}
        self.page = {query: _reranked(query, page["hits"]["hits"]) for query, page in pages.items()}
        self.reranked: dict[str, list[str]] = {}
        for _ in range(3):  # until the products' vectors are known, the student may be late
            self.reranked = {query: self._ids(self.search(query)) for query in QUERIES}
        self.lock = threading.Lock()
        self.counts = {"reranked": 0, "page": 0, "bm25": 0, "partial": 0, "wrong": 0, "errors": 0}
        self.slowest = 0.0
        self.told: list[str] = []

    @staticmethod
    def _ids(answer: dict[str, Any]) -> list[str]:
        return [hit["_id"] for hit in answer["hits"]["hits"]]

    def search(self, query: str, pipeline: str | None = None) -> dict[str, Any]:
        body = {"query": {"multi_match": {"query": query, "fields": ["title^3", "brand^2", "description"]}}, "size": 10}
        answer: dict[str, Any] = self.client.search(index=self.index, body=body, params={"search_pipeline": pipeline or self.pipeline})
        return answer

    def one(self, query: str) -> None:
        began = time.perf_counter()
        try:
            answer = self.search(query)
            found = self._ids(answer)
            orders = {"reranked": self.reranked, "bm25": self.bm25, "page": self.page}
            kind = next((kind for kind, order in orders.items() if found == order[query]), "wrong")
            if kind == "wrong" and _misses_a_shard(answer) and _is_ordered(query, answer["hits"]["hits"]):
                kind = "partial"
            if kind == "wrong":
                hits = [(hit["_id"], hit["_score"]) for hit in answer["hits"]["hits"]]
                self.told.append(f"{query}: {hits}, {answer['_shards']}")
        except OpenSearchException as error:
            kind = "errors"
            self.told.append(f"{query}: {error}"[:300])
        with self.lock:
            self.counts[kind] += 1
            self.slowest = max(self.slowest, (time.perf_counter() - began) * 1e3)

    def all(self) -> None:
        for query in QUERIES:
            self.one(query)

    def reset(self) -> None:
        self.counts, self.slowest, self.told = dict.fromkeys(self.counts, 0), 0.0, []

    def at_once(self, clients: int, until: Callable[[], bool]) -> None:
        """Search with so many clients at once until told to stop."""

        def work(start: int) -> None:
            turn = start
            while not until():
                self.one(QUERIES[turn % len(QUERIES)])
                turn += 1

        threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def row(self, fault: str) -> Row:
        row = Row(fault, **self.counts, slowest_ms=self.slowest)
        ROWS.append(row)
        return row


STUDENT = Reranker.load()


def shipped_bundle() -> Path:
    return STUDENT.bundle.path


def _reranked(query: str, hits: list[dict[str, Any]]) -> list[str]:
    return [hits[ranked.index]["_id"] for ranked in STUDENT.rerank(query, [hit["_source"]["product"] for hit in hits])]


def _misses_a_shard(answer: dict[str, Any]) -> bool:
    """Tell whether OpenSearch says that a shard had no say; one that is on no node counts as neither failed nor successful."""
    shards = answer["_shards"]
    return bool(shards["successful"] < shards["total"])


def _is_ordered(query: str, hits: list[dict[str, Any]]) -> bool:
    """Tell whether hits are in the student's order; or in that of scores that are not its own, 0 to 1: BM25's, or below 0 where it was late."""
    scores = [hit["_score"] for hit in hits]
    without_student = not 0 <= max(scores) <= 1
    return _reranked(query, hits) == [hit["_id"] for hit in hits] or (without_student and scores == sorted(scores, reverse=True))


@pytest.fixture
def searchers(opensearch_url: str, demo_index: str, pipeline: str) -> Searchers:
    searchers = Searchers(opensearch_url, demo_index, pipeline)
    assert all(searchers.reranked[query] != searchers.bm25[query] for query in QUERIES)
    return searchers


FAULTS = {
    "hang": "hung",
    "slow": "slower than the budget",
    "garbage": "answers HTML",
    "other": "answers other JSON",
    "nan": "answers NaN",
    "short": "answers a score too few",
    "error": "answers 500",
    "cut": "breaks off its answer",
}


@pytest.mark.parametrize("on", ["/request", "/rerank"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_reranker_leaves_bm25_order(searchers: Searchers, proxy: FaultyProxy, fault: str, on: str) -> None:
    proxy.fault, proxy.on = fault, on
    searchers.all()
    what = "asked to rewrite" if on == "/request" else "asked to score"
    row = searchers.row(f"reranker {FAULTS[fault]}, when {what}")
    assert (row.wrong, row.errors) == (0, 0), searchers.told
    assert (row.page if on == "/request" else row.bm25) == len(QUERIES)


def test_a_stopped_reranker_leaves_bm25_order_and_comes_back(
    opensearch_url: str, demo_index: str, host_of_containers: str, tmp_path: Path, pipeline: str
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with served(home, "--host", "0.0.0.0") as running:
        port = running.url.rsplit(":", 1)[1]
        run("pipeline", "remove", "--opensearch", opensearch_url, "--index", demo_index, "--name", "stopped")
        install = ["pipeline", "install", "--opensearch", opensearch_url, "--index", demo_index, "--name", "stopped"]
        assert run(*install, "--service", f"http://{host_of_containers}:{port}", "--budget-ms", str(BUDGET_MS)).returncode == 0
        searchers = Searchers(opensearch_url, demo_index, "stopped")
    try:
        searchers.all()
        row = searchers.row("reranker stopped")
        assert (row.bm25, row.wrong, row.errors) == (len(QUERIES), 0, 0), searchers.told

        # restarted again and again under load, by SIGTERM and by SIGKILL
        searchers.reset()
        done = threading.Event()
        load = threading.Thread(target=searchers.at_once, args=(8, done.is_set))
        load.start()
        try:
            for turn in range(4):
                with served(home, "--host", "0.0.0.0", "--port", port) as running:
                    wait_for(lambda before=searchers.counts["reranked"]: searchers.counts["reranked"] > before + 20)
                    if turn % 2:
                        running.process.terminate()
                        running.process.wait(60)
        finally:
            done.set()
            load.join()
        row = searchers.row("reranker restarted four times under load")
        assert (row.wrong, row.errors) == (0, 0), searchers.told
        assert row.bm25
    finally:
        run("pipeline", "remove", "--opensearch", opensearch_url, "--index", demo_index, "--name", "stopped")


def test_an_index_rebuilt_during_search(opensearch_url: str, demo_index: str, searchers: Searchers) -> None:
    done = threading.Event()
    load = threading.Thread(target=searchers.at_once, args=(4, done.is_set))
    load.start()
    rebuilt = run("index", "--opensearch", opensearch_url, "--index", demo_index)
    done.set()
    load.join()
    assert rebuilt.returncode == 0, rebuilt.stderr
    row = searchers.row("index rebuilt during search")
    assert (row.wrong, row.errors) == (0, 0), searchers.told
    assert row.reranked


def test_a_corrupt_new_bundle(opensearch_url: str, demo_index: str, host_of_containers: str, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(shipped_bundle(), bundle)
    with (
        served(tmp_path, "--host", "0.0.0.0", "--bundle", str(bundle)) as running,
        installed(opensearch_url, f"http://{host_of_containers}:{running.url.rsplit(':', 1)[1]}", demo_index, "rollout"),
    ):
        searchers = Searchers(opensearch_url, demo_index, "rollout")
        done = threading.Event()
        load = threading.Thread(target=searchers.at_once, args=(2, done.is_set))
        load.start()
        try:
            wait_for(lambda: searchers.counts["reranked"] > 5)
            model = bundle / "model.onnx"
            model.write_bytes(model.read_bytes()[:-1_000])
            status, answer, _ = running.ask("/bundles/reload", {})
            assert status in (409, 422), answer
            before = searchers.counts["reranked"]
            wait_for(lambda: searchers.counts["reranked"] > before + 10)
        finally:
            done.set()
            load.join()
        row = searchers.row("a corrupt new bundle is rolled out")
        assert (row.wrong, row.errors) == (0, 0), searchers.told


def test_a_node_and_a_replica_are_lost(opensearch_cluster: OpenSearchCluster, host_of_containers: str, tmp_path: Path) -> None:
    cluster = opensearch_cluster
    cluster.heal()
    there = ["--opensearch", cluster.url, "--index", "spread"]
    done = run("index", *there, "--shards", "3", "--replicas", "1")
    assert done.returncode == 0, done.stderr
    cluster.await_nodes(3, asked=NODES[0])
    homes = [tmp_path / "a", tmp_path / "b"]
    for home in homes:
        home.mkdir()
    try:
        with (
            served(homes[0]) as first,
            served(homes[1]) as second,
            balanced(tmp_path, free_port(), [first.url, second.url]) as port,
            installed(cluster.url, f"http://{host_of_containers}:{port}", "spread", "balanced"),
        ):
            searchers = Searchers([cluster.urls[NODES[0]], cluster.urls[NODES[1]]], "spread", "balanced")
            stop = threading.Event()
            load = threading.Thread(target=searchers.at_once, args=(3, stop.is_set))
            load.start()

            def goes_on() -> None:
                before = searchers.counts["reranked"]
                wait_for(lambda: searchers.counts["reranked"] > before + 15, seconds=120)

            try:
                goes_on()
                first.process.kill()
                goes_on()
                cluster.kill(NODES[2])
                goes_on()
            finally:
                stop.set()
                load.join()
            row = searchers.row("a replica of the reranker and a node of OpenSearch killed")
            assert (row.wrong, row.errors) == (0, 0), searchers.told
    finally:
        cluster.heal()
        cluster.client(NODES[0]).indices.delete(index="spread-*")


def test_a_shard_without_a_replica_is_lost(opensearch_cluster: OpenSearchCluster, host_of_containers: str, tmp_path: Path) -> None:
    cluster = opensearch_cluster
    cluster.heal()
    done = run("index", "--opensearch", cluster.url, "--index", "alone", "--shards", "3", "--replicas", "0")
    assert done.returncode == 0, done.stderr
    cluster.await_nodes(3, asked=NODES[0])
    try:
        with (
            served(tmp_path, "--host", "0.0.0.0") as running,
            installed(cluster.urls[NODES[0]], f"http://{host_of_containers}:{running.url.rsplit(':', 1)[1]}", "alone", "alone"),
        ):
            searchers = Searchers(cluster.urls[NODES[0]], "alone", "alone")
            cluster.kill(NODES[2])
            cluster.await_nodes(2, asked=NODES[0])
            searchers.all()
            row = searchers.row("a node of OpenSearch with a shard that has no replica killed")
            assert (row.wrong, row.errors) == (0, 0), searchers.told
            assert row.partial
    finally:
        cluster.heal()
        cluster.client(NODES[0]).indices.delete(index="alone-*")


def test_two_hundred_clients_for_a_minute(searchers: Searchers) -> None:
    end = time.monotonic() + float(os.environ.get("LOAD_SECONDS", "60"))
    searchers.at_once(200, lambda: time.monotonic() > end)
    row = searchers.row("200 clients at once for a minute")
    assert (row.wrong, row.errors) == (0, 0), searchers.told[:5]
    assert row.reranked + row.bm25 > 200
