"""The embedded engine and OpenSearch find the same products for the same query, in the same order where scores allow."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from opensearchpy import OpenSearch

from reranker.analysis import tokens
from reranker.demo_data import demo_file
from reranker.embedded import EmbeddedFirstStage, field_text
from reranker.first_stage import FirstStage
from reranker_opensearch.first_stage import OpenSearchFirstStage

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def stages(opensearch_url: str, demo_index: str, embedded_index: Path) -> Iterator[tuple[FirstStage, FirstStage]]:
    embedded, cluster = EmbeddedFirstStage(embedded_index), OpenSearchFirstStage(opensearch_url, demo_index)
    yield embedded, cluster
    cluster.close()


@pytest.fixture(scope="module")
def judged_queries() -> list[str]:
    with demo_file("judgments.csv").open(encoding="utf-8") as file:
        return list(dict.fromkeys(row["query"] for row in csv.DictReader(file)))


def test_the_same_top_50(stages: tuple[FirstStage, FirstStage], judged_queries: list[str]) -> None:
    embedded, cluster = stages
    overlaps = {}
    for query in judged_queries:
        one, other = ({hit.product_id for hit in stage.search(query, 50)} for stage in (embedded, cluster))
        overlaps[query] = len(one & other) / max(len(one), len(other), 1)
    mean = sum(overlaps.values()) / len(overlaps)
    print(f"mean overlap of the top 50 over {len(overlaps)} judged queries: {mean:.4f}, lowest {min(overlaps.values()):.2f}")
    assert mean >= 0.99  # measured: 0.9994, lowest 0.98
    assert min(overlaps.values()) >= 0.9


def test_scores_differ_by_a_few_percent_at_most(stages: tuple[FirstStage, FirstStage], judged_queries: list[str]) -> None:
    embedded, cluster = stages
    for query in judged_queries:
        hits = cluster.search(query, 50)
        theirs = embedded.score(query, [hit.product_id for hit in hits])
        for hit in hits:
            # the engines count products without a brand or description differently
            assert hit.score == pytest.approx(theirs[hit.product_id], rel=0.06)


def test_text_analysis_is_the_same_as_opensearchs(opensearch_url: str, demo_index: str) -> None:
    """Every tenth product's words, field by field: at most one word in 20,000 differs."""
    with gzip.open(demo_file("products.jsonl.gz"), "rt", encoding="utf-8") as lines:
        products = [json.loads(line) for line in lines][::10]
    texts = [field_text(product, field) for product in products for field in ("title", "description")]
    texts += [
        "Kissデジタル X",
        "technologies, assembly, possibly, probably, ably",
        "m² ½ 3.5 1,024 a.b.c",
        "Children's AT&T O’Neill's",
        "os ps x",
        "naïve cafe\u0301 ®",
    ]
    client = OpenSearch(opensearch_url)
    words = different = 0
    for start in range(0, len(texts), 50):
        batch = texts[start : start + 50]
        answer = client.indices.analyze(index=demo_index, body={"analyzer": "english", "text": "\n".join(batch)})
        theirs = [token["token"] for token in answer["tokens"]]
        ours = list(tokens("\n".join(batch)))
        words += len(theirs)
        different += sum(a != b for a, b in zip(ours, theirs, strict=False)) if len(ours) == len(theirs) else len(theirs)
    print(f"{different} of {words} words differ")
    assert words > 30_000
    assert different <= words / 20_000
