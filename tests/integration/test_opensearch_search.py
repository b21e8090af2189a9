"""OpenSearch as a first stage, and the two-stage search over it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from opensearchpy import OpenSearch

from reranker.errors import FirstStageError, InputError
from reranker.first_stage import FirstStage
from reranker.products import Product
from reranker.scorer import Scorer
from reranker.search import TwoStageSearch
from reranker_opensearch.connection import Cluster
from reranker_opensearch.first_stage import OpenSearchFirstStage
from reranker_opensearch.indexing import index_products

pytestmark = pytest.mark.integration

PRODUCTS: list[Product] = [
    {"id": "b", "title": "Gaming laptop", "brand": "Acme", "price": 999.5, "tags": ["new", None], "attributes": {"ram_gb": 16}},
    {"id": "a", "title": "Gaming laptop", "brand": "Acme"},
    {"id": "c", "title": "Laptop sleeve", "description": "For a gaming laptop of 15 inches"},
    {"id": "d", "title": "Toner"},
]


@pytest.fixture(scope="module")
def small(opensearch_url: str) -> Iterator[FirstStage]:
    cluster = Cluster(opensearch_url)
    index_products(cluster, "small", PRODUCTS)
    cluster.close()
    stage = OpenSearchFirstStage(opensearch_url, "small")
    yield stage
    stage.close()


def test_equal_scores_keep_the_catalogues_order(small: FirstStage) -> None:
    hits = small.search("gaming laptops", 10)
    assert [hit.product_id for hit in hits][:2] == ["a", "b"] or [hit.product_id for hit in hits][:2] == ["b", "a"]
    plain = small.search("acme", 10)
    assert [hit.product_id for hit in plain] == ["b", "a"]
    assert plain[0].score == plain[1].score


def test_whole_products_are_returned(small: FirstStage) -> None:
    assert small.search("16", 1)[0].product == PRODUCTS[0]
    assert small.get(["d", "nope", "b"]) == {"d": PRODUCTS[3], "b": PRODUCTS[0]}


def test_scores_of_named_products_are_those_of_the_search(small: FirstStage) -> None:
    found = {hit.product_id: hit.score for hit in small.search("gaming laptop", 10)}
    assert small.score("gaming laptop", ["d", "c", "nope", "a"]) == {"d": 0.0, "c": found["c"], "a": found["a"]}


def test_count(small: FirstStage) -> None:
    assert small.count() == len(PRODUCTS)


@pytest.mark.parametrize("query", ["the of", "!?", "😀 🎮", "zyxwv"])
def test_queries_without_a_known_word_find_nothing(small: FirstStage, query: str) -> None:
    assert small.search(query, 10) == []


@pytest.mark.parametrize("query", ['laptop AND (x OR "', "laptop \\ / * ? ~", "{'match_all': {}} laptop"])
def test_query_syntax_is_only_text(small: FirstStage, query: str) -> None:
    assert "a" in [hit.product_id for hit in small.search(query, 10)]


def test_too_many_different_words_get_a_clear_message(small: FirstStage) -> None:
    with pytest.raises(InputError, match="more words than OpenSearch"):
        small.search(" ".join(f"w{i}" for i in range(400)), 10)


@pytest.mark.parametrize("wrong", ["nothere", "Capital", "a*", "_all", "x,y"])
def test_an_invalid_index_name_is_refused(opensearch_url: str, wrong: str) -> None:
    with pytest.raises((FirstStageError, InputError), match=r"There is no index|cannot name an index"):
        OpenSearchFirstStage(opensearch_url, wrong)


def test_an_index_that_is_not_ours_is_not_searched(opensearch_url: str) -> None:
    OpenSearch(opensearch_url).indices.create(index="somebodys", body={"mappings": {"_meta": {"owner": "somebody"}}})
    with pytest.raises(FirstStageError, match="not made by 'reranker index'"):
        OpenSearchFirstStage(opensearch_url, "somebodys")


def test_an_index_that_vanishes_gets_a_clear_message(opensearch_url: str) -> None:
    cluster = Cluster(opensearch_url)
    index_products(cluster, "vanishing", PRODUCTS)
    stage = OpenSearchFirstStage(opensearch_url, "vanishing")
    for index in cluster.client.indices.get(index="vanishing"):
        cluster.client.indices.delete(index=index)
    with pytest.raises(FirstStageError, match="There is no index 'vanishing'"):
        stage.search("laptop", 10)


class LongestTitleFirst(Scorer):
    model = "longest title first"

    def score(self, query: str, products: Sequence[Product | str]) -> np.ndarray:
        return np.array([len(str(p["title"])) / 200 for p in products if not isinstance(p, str)], dtype=np.float32)


class Broken(Scorer):
    model = "broken"

    def score(self, query: str, products: Sequence[Product | str]) -> np.ndarray:
        raise RuntimeError("out of order")


def test_two_stages(opensearch_url: str, demo_index: str) -> None:
    stage = OpenSearchFirstStage(opensearch_url, demo_index)
    plain = TwoStageSearch(stage, None).search("gaming laptop", size=60)
    reranked = TwoStageSearch(stage, LongestTitleFirst(), k=50).search("gaming laptop", size=60)
    failing = TwoStageSearch(stage, Broken(), k=50).search("gaming laptop", size=60)

    order = [result.product_id for result in plain.results]
    assert len(order) == 60
    assert not plain.reranked
    assert reranked.reranked
    top = reranked.results[:50]
    assert sorted(result.product_id for result in top) == sorted(order[:50])
    assert [result.product_id for result in top] != order[:50]
    lengths = [len(str(result.product["title"])) for result in top]
    assert lengths == sorted(lengths, reverse=True)
    assert [result.product_id for result in reranked.results[50:]] == order[50:]

    assert not failing.reranked
    assert failing.fallback_reason is not None
    assert [result.product_id for result in failing.results] == order
