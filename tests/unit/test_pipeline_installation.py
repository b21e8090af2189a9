"""The search pipeline without a cluster: its definition, rewritten requests and scores of hits."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from reranker.service.search_pipeline.hit_scoring import product_of, scores_of_page
from reranker.service.search_pipeline.query_words import query_words
from reranker.service.search_pipeline.request_rewriting import PipelineSettings, Window, as_json_text, rewrite, window_of
from reranker_opensearch.search_pipeline.cluster_settings import _is_private, _matches
from reranker_opensearch.search_pipeline.definition import Wanted, connectors, documents_path, pipeline_body

SETTINGS = PipelineSettings(k=50, fields={"title": "product.title", "brand": "product.brand"})
LAPTOP: dict[str, Any] = {"query": {"match": {"title": "laptop"}}}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"match": {"title": "gaming laptop"}}, "gaming laptop"),
        ({"match": {"title": {"query": "gaming laptop", "operator": "OR"}}}, "gaming laptop"),
        ({"multi_match": {"query": "usb  cable\n3m", "fields": ["title^3", "brand"]}}, "usb cable 3m"),
        ({"bool": {"must": [{"match": {"title": "ps4"}}], "filter": [{"term": {"in_stock": True}}], "must_not": [{"match": {"title": "game"}}]}}, "ps4"),
        ({"bool": {"should": [{"match": {"title": "dell laptop"}}, {"match_phrase": {"title": "dell laptop"}}, {"match": {"brand": "dell"}}]}}, "dell laptop"),
        ({"bool": {"must": {"match": {"title": "laptop"}}, "should": [{"match": {"brand": "dell"}}]}}, "laptop dell"),
        ({"function_score": {"query": {"match": {"title": "monitor"}}, "functions": [{"filter": {"match": {"title": "sale"}}, "weight": 2}]}}, "monitor"),
        ({"dis_max": {"queries": [{"match": {"title": "tv"}}, {"match": {"description": "tv"}}]}}, "tv"),
        ({"query_string": {"query": 'title:laptop AND brand:dell -bag NOT sleeve "15 inch"^2'}}, "laptop dell 15 inch"),
        ({"simple_query_string": {"query": "wi-fi +router -cable"}}, "wi-fi router"),
        ({"nested": {"path": "variants", "query": {"match": {"variants.name": "red shoe"}}}}, "red shoe"),
        ({"hybrid": {"queries": [{"match": {"title": "sofa"}}, {"neural": {"vector": {"query_text": "sofa", "k": 5}}}]}}, "sofa"),
        ({"match": {"year": 2024}}, "2024"),
        ({"match_all": {}}, ""),
        ({"term": {"category": "laptops"}}, ""),
    ],
)
def test_the_shoppers_words_are_found_in_every_kind_of_query(query: dict[str, Any], words: str) -> None:
    assert query_words({"query": query}) == words


def test_a_client_may_state_the_query_itself() -> None:
    told = {"query": {"match": {"title": "lptop"}}, "ext": {"rerank": {"query_context": {"query_text": "laptop"}}}}
    assert query_words(told) == "laptop"
    told["ext"] = {"rerank": {"query_context": {"query_text_path": "query.match.title"}}}
    assert query_words(told) == "lptop"


@pytest.mark.parametrize(
    "more",
    [
        {"sort": ["price"]},
        {"sort": [{"price": {"order": "asc"}}, {"_score": "desc"}]},
        {"sort": [{"_score": {"order": "asc"}}]},
        {"size": 0},
        {"from": 50},
        {"search_after": [1]},
        {"query": {"match_all": {}}},
        {"query": {"match": {"title": "x" * 1_001}}},
        {"stored_fields": "_none_"},
    ],
)
def test_a_search_that_cannot_be_reranked_is_unchanged(more: dict[str, Any]) -> None:
    request = LAPTOP | more
    rewritten = rewrite(request, SETTINGS)
    assert rewritten.request == request
    assert rewritten.fallback_reason


@pytest.mark.parametrize(
    ("asked", "start", "size"),
    [({}, 0, 50), ({"size": 20, "from": 20}, 0, 50), ({"size": 200}, 0, 200), ({"from": 45, "size": 10}, 0, 55), ({"sort": ["_score", {"id": "asc"}]}, 0, 50)],
)
def test_enough_hits_are_fetched(asked: dict[str, Any], start: int, size: int) -> None:
    rewritten = rewrite(LAPTOP | asked, SETTINGS)
    assert rewritten.fallback_reason is None
    assert (rewritten.request["from"], rewritten.request["size"]) == (start, size)
    assert rewritten.request["query"] == LAPTOP["query"]


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        (True, True),
        (False, ["product.title", "product.brand"]),
        (["id"], {"includes": ["id", "product.title", "product.brand"], "excludes": []}),
        ("id", {"includes": ["id", "product.title", "product.brand"], "excludes": []}),
        ({"excludes": ["product.description", "price"]}, {"includes": [], "excludes": ["product.description", "price"]}),
        ({"excludes": ["product"]}, {"includes": [], "excludes": []}),
        ({"excludes": ["*.title", "price"]}, {"includes": [], "excludes": ["price"]}),
        ({"includes": ["id"], "excludes": ["product.brand.*"]}, {"includes": ["id", "product.title", "product.brand"], "excludes": []}),
    ],
)
def test_the_students_fields_are_fetched_whatever_the_client_filters(source: Any, wanted: Any) -> None:
    assert rewrite(LAPTOP | {"_source": source}, SETTINGS).request["_source"] == wanted


def test_hits_are_counted_even_if_the_client_does_not_ask_for_it() -> None:
    assert rewrite(LAPTOP | {"track_total_hits": False}, SETTINGS).request["track_total_hits"] == 1
    assert "track_total_hits" not in rewrite(LAPTOP, SETTINGS).request


def test_a_rewritten_request_holds_no_variable_of_ml_commons() -> None:
    request = {"query": {"match": {"title": "${parameters.request} costs 5$"}}}
    text = as_json_text(request)
    assert "$" not in text
    assert json.loads(text) == request


def order(scores: list[float], size: int) -> list[int]:
    """Sort hits as OpenSearch does: by float32 scores, best first, ties in their order; truncated to the page."""
    return np.argsort(-np.asarray(scores, dtype=np.float32), kind="stable").tolist()[:size]


@pytest.mark.parametrize("start", [0, 10, 40, 45])
@pytest.mark.parametrize("hits", [60, 55])
def test_the_scores_sort_the_wanted_page_to_the_front(start: int, hits: int) -> None:
    relevance = np.random.default_rng(start).random(50).astype(np.float32)
    relevance[7] = relevance[3]
    relevance[[11, 12, 13]] = [0.99999994, 0.9999999, 1.0]  # neighbours in float32
    whole = [*np.argsort(-relevance, kind="stable").tolist(), *range(50, hits)]
    assert order(scores_of_page(relevance, Window("x", start, 10), hits), 10) == whole[start : start + 10]


def test_without_relevance_the_page_is_in_bm25_order() -> None:
    scores = scores_of_page(None, Window("x", 10, 10), 30)
    assert order(scores, 10) == list(range(10, 20))
    assert max(scores) < 0


def test_scores_have_at_most_seven_decimals() -> None:
    scores = scores_of_page(np.random.default_rng(1).random(50).astype(np.float32), Window("x", 0, 50), 60)
    assert all(round(score, 7) == score for score in scores)


def test_a_product_is_read_through_objects_and_lists() -> None:
    document = {
        "name": ["A", "B"],
        "vendor": {"label": "Dell"},
        "variants": [{"colour": "red"}, {"size": 3}, {"colour": "blue"}],
        "a.b": {"c": 1},
        "none": None,
    }
    fields = {"title": "name", "brand": "vendor.label", "colours": "variants.colour", "c": "a.b.c", "description": "text", "x": "none"}
    assert product_of(document, fields) == {"title": ["A", "B"], "brand": "Dell", "colours": ["red", "blue"], "c": 1}


def test_printed_definitions_do_not_contain_the_key() -> None:
    wanted = Wanted(name="shop", service="http://reranker:8000", fields={"title": "title"}, api_key="k" * 20)
    told = json.dumps([connector.body for connector in connectors(wanted).values()]) + repr(wanted)
    assert "k" * 20 not in told
    assert "Bearer ${credential.api_key}" in told


def test_another_key_or_k_makes_another_connector() -> None:
    def prints(**changes: Any) -> set[str]:
        wanted = Wanted(**{"name": "shop", "service": "http://reranker:8000", "fields": {"title": "title"}, "api_key": "k" * 20, **changes})
        return {connector.fingerprint(wanted.api_key) for connector in connectors(wanted).values()}

    assert prints() == prints()
    assert not prints() & prints(api_key="l" * 20)
    assert not prints() & prints(k=60)


def test_every_step_of_the_pipeline_ignores_its_failure() -> None:
    wanted = Wanted(name="shop", service="http://reranker:8000", fields={"title": "title"})
    body = pipeline_body(wanted, {"rewrite": "1", "score": "2"})
    steps = [next(iter(step.values())) for step in body["request_processors"] + body["response_processors"]]
    assert len(steps) == 5
    assert all(step["ignore_failure"] is True for step in steps)


def test_the_cluster_sends_only_the_top_of_the_fields() -> None:
    assert documents_path({"title": "product.title", "brand": "product.brand"}) == "$['product','_']"
    assert documents_path({"title": "name", "brand": "vendor.label"}) == "$['name','vendor','_']"


def test_the_window_is_the_one_the_client_asked_for() -> None:
    window, fallback_reason = window_of({"query": {"match": {"title": "laptop"}}, "from": 20, "size": 5}, SETTINGS)
    assert window == Window("laptop", 20, 5)
    assert fallback_reason is None


@pytest.mark.parametrize(("host", "private"), [("127.0.0.1", True), ("10.1.2.3", True), ("no-such-host.invalid", True), ("8.8.8.8", False)])
def test_private_and_public_addresses_are_distinguished(host: str, private: bool) -> None:
    assert _is_private(host) is private


def test_trusted_endpoints_are_recognised() -> None:
    assert _matches(r"^http://10\.0\.0\.1:8000/.*$", "http://10.0.0.1:8000/x")
    assert not _matches(r"^http://10\.0\.0\.1:8000/.*$", "http://10.0.0.1:80001/x")
    assert not _matches("(", "http://x/")


def test_a_bundles_own_fields_are_added_only_for_whole_products() -> None:
    names = ("title", "brand", "category")
    ours = SETTINGS.with_fields(names)
    assert product_of({"product": {"title": "TV", "category": "Electronics", "price": 9}}, ours.fields) == {"title": "TV", "category": "Electronics"}
    assert "product.category" in rewrite({**LAPTOP, "_source": ["product.price"]}, ours).request["_source"]["includes"]
    theirs = PipelineSettings(k=50, fields={"title": "name"})
    assert theirs.with_fields(names) == theirs
