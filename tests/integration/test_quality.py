"""The shipped bundle on the demo catalogue in a real OpenSearch: what it gains over BM25, and what it costs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reranker import Reranker, TwoStageSearch
from reranker.demo_data import demo_file
from reranker.evaluation.report import evaluate
from reranker.first_stage import FirstStage
from reranker.judgments import load_judgments
from reranker_opensearch.first_stage import OpenSearchFirstStage
from tests.commands import run_command

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def cluster(opensearch_url: str, demo_index: str) -> Iterator[FirstStage]:
    stage = OpenSearchFirstStage(opensearch_url, demo_index)
    yield stage
    stage.close()


@pytest.fixture(scope="module")
def report(cluster: FirstStage) -> dict[str, Any]:
    measured = evaluate(cluster, Reranker.load(), load_judgments(demo_file("judgments.csv")), embedder=False).as_dict()
    results = Path(os.environ.get("RESULTS_DIR") or "results")
    results.mkdir(parents=True, exist_ok=True)
    (results / "opensearch_quality.json").write_text(json.dumps(measured, indent=2), encoding="utf-8")
    for name, value in measured["ndcg@10"].items():
        print(f"nDCG@10 of {name} on {measured['queries']} queries of unseen intents: {value}")
    for stage, times in measured["latency_ms"].items():
        print(f"{stage}: {times}")
    return measured


def test_the_reranker_beats_bm25_on_unseen_intents(report: dict[str, Any]) -> None:
    assert report["queries"] >= 12
    assert report["left_out"]["seen_queries"] > 0
    gain = report["difference"]["reranker-bm25"]
    assert gain["mean"] > 0.05
    assert gain["interval"][0] > 0  # paired, over the queries: it may lose a little on many and win much on few


def test_latency_of_each_stage_is_reported(report: dict[str, Any]) -> None:
    for stage in ("first_stage", "rerank", "total"):
        times = report["latency_ms"][stage]
        assert times["samples"] >= 50
        assert 0 < times["p50"] <= times["p95"] <= times["p99"]


def test_searching_with_and_without_the_rerank_stage(cluster: FirstStage) -> None:
    searcher = TwoStageSearch(cluster, Reranker.load(), k=50)
    plain = searcher.search("usb hub", size=60, rerank=False)
    reranked = searcher.search("usb hub", size=60)
    assert [r.bm25_rank for r in plain.results] == list(range(1, len(plain.results) + 1))
    assert reranked.reranked
    assert sorted(r.product_id for r in reranked.results[:50]) == sorted(r.product_id for r in plain.results[:50])
    assert [r.product_id for r in reranked.results[:50]] != [r.product_id for r in plain.results[:50]]
    assert [r.product_id for r in reranked.results[50:]] == [r.product_id for r in plain.results[50:]]


def test_the_terminal_shows_the_same_from_the_cluster(opensearch_url: str, demo_index: str) -> None:
    done = run_command("search", "usb hub", "--opensearch", opensearch_url, "--index", demo_index, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["reranked"] is True
    assert len(answer["results"]) == 10
