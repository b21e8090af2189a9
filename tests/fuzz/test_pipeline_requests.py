"""Requests to the endpoints that OpenSearch's search pipeline calls: made from a grammar of its query language, with hostile values in any place."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import hypothesis.strategies as st
import pytest
import requests
import schemathesis
from hypothesis import given

from tests.fuzz.fuzzing import AS_DESCRIBED, HOSTILE, examples

REWRITE, SCORE = "/opensearch/request", "/opensearch/rerank"
REFUSED = {400, 409, 413, 422}
VALID = {
    "request": {"query": {"match": {"title": "laptop"}}, "from": 0, "size": 10, "_source": ["title"]},
    "documents": [{"title": "desk"}, {"title": "laptop"}],
    "settings": {"fields": {"title": "title"}, "k": 50, "budget_ms": 500},
}
BODY = json.dumps(VALID).encode()

numbers = st.sampled_from([0, 1, 10, 50, 1_000, -1, 10_001, 2**63, 0.5, 1e308, True])
odd = st.one_of(
    st.none(),
    numbers,
    st.sampled_from([10**400, float("nan"), float("inf"), "", "a", "\ud800", "\x00", "٣", [], {}, [[]], [None], {"a": None}, [{"a": [{}]}]]),
    st.text(max_size=5),
)
"""Values that fit nowhere."""
fields = st.sampled_from(["title", "brand", "product.title", "a.b.c", "title^3", "", ".", "..", "*", "a.*", "_score", "query", "a" * 2_000, "a." * 300])
words = st.sampled_from(
    [
        *(
            "laptop",
            "gaming laptop",
            "LAPTOP  bag",
            "title:laptop AND -bag",
            "(a OR b)^2~1",
            '"a b"~3',
            "NOT NOT",
            "^^",
            "a:",
            "-" * 500,
            "a." * 500,
            "[a TO b}",
        ),
        *("laptop " * 200, "x" * 1_001, "\x00", "", " ", "$" + "{a}", "\u2028", "👩‍👩‍👧‍👦"),
    ]
)


def rarely(hostile: st.SearchStrategy[Any], usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The usual value, but for one time in forty, so that most requests reach the code behind the checks."""
    return st.integers(0, 39).flatmap(lambda number: hostile if number == 7 else usual)


def some(**parts: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with any of these parts, now and then with a value that does not fit."""
    return st.fixed_dictionaries({}, optional={name: rarely(odd, part) for name, part in parts.items()})


text = rarely(odd, words)
asked = text | some(query=text, operator=st.sampled_from(["and", "or"]), boost=numbers, fuzziness=odd)
full_text = st.one_of(
    st.builds(
        lambda kind, by_field: {kind: by_field},
        st.sampled_from(["match", "match_phrase", "match_phrase_prefix", "match_bool_prefix", "neural", "neural_sparse", "common", "term", "prefix", "fuzzy"]),
        st.dictionaries(fields, asked | some(query_text=text, model_id=text, k=numbers), max_size=3) | odd,
    ),
    st.builds(
        lambda kind, body: {kind: body},
        st.sampled_from(["multi_match", "combined_fields", "query_string", "simple_query_string"]),
        some(query=text, fields=st.lists(fields, max_size=3), default_field=fields, type=text) | odd,
    ),
)


def compound(clause: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    clauses = clause | st.lists(clause, max_size=4)
    return st.one_of(
        some(must=clauses, should=clauses, filter=clauses, must_not=clauses, minimum_should_match=odd).map(lambda body: {"bool": body}),
        some(queries=clauses, tie_breaker=numbers).map(lambda body: {"dis_max": body}),
        some(queries=clauses, pagination_depth=numbers).map(lambda body: {"hybrid": body}),
        some(query=clause, functions=st.lists(some(filter=clause, weight=numbers), max_size=2), boost=numbers).map(lambda body: {"function_score": body}),
        some(query=clause, script=some(source=text, params=odd)).map(lambda body: {"script_score": body}),
        some(filter=clause, boost=numbers).map(lambda body: {"constant_score": body}),
        some(positive=clause, negative=clause, negative_boost=numbers).map(lambda body: {"boosting": body}),
        some(path=fields, query=clause, inner_hits=odd).map(lambda body: {"nested": body}),
        some(type=text, query=clause).map(lambda body: {"has_child": body}),
        some(ids=st.lists(text, max_size=3), organic=clause).map(lambda body: {"pinned": body}),
        st.dictionaries(st.sampled_from(["bool", "hybrid", "unknown"]), clauses, max_size=2),
    )


clauses = rarely(odd, st.recursive(full_text, compound, max_leaves=8))
queries = clauses | clauses.map(lambda clause: {"bool": {"must": [{"match": {"title": "gaming laptop"}}], "should": clause}})
patterns = st.sampled_from(["title", "*", "*title*", "a.*", "[a-z]", "[", "**", "?" * 50, "*a" * 50, ""])
filters = patterns | st.lists(rarely(odd, patterns), max_size=4)
sort_keys = st.sampled_from(["_score", "price", {"_score": "desc"}, {"_score": {"order": "asc"}}, {"price": "asc"}, {}, {"_score": []}])
paths = st.sampled_from(["query.match.title", "query.bool.must.0.match.title.query", "ext.rerank", "", ".", "query." * 500, "query.0.0", "٣"])
seldom = rarely(odd, st.just([]))
options = some(
    size=rarely(numbers, st.sampled_from([1, 10, 100])),
    sort=rarely(sort_keys | st.lists(sort_keys, max_size=3), st.just(["_score", {"price": "asc"}])),
    _source=st.booleans() | filters | some(includes=filters, excludes=filters, include=filters, exclude=filters),
    ext=some(rerank=some(query_context=some(query_text=text, query_text_path=paths))),
    track_total_hits=numbers,
    search_after=seldom,
    slice=seldom,
    stored_fields=rarely(st.just("_none_"), fields | st.lists(fields, max_size=2)),
    script_fields=odd,
    aggs=odd,
)
requests_to_search = st.builds(lambda query, start, rest: {"query": query, "from": start, **rest}, queries, rarely(odd, st.sampled_from([0, 10])), options)
pipeline_settings = st.builds(
    lambda named, rest: {**rest, "fields": named},
    rarely(
        odd,
        st.dictionaries(
            rarely(fields, st.sampled_from(["brand", "color"])), rarely(fields, st.sampled_from(["brand", "a.b", "product.title"])), max_size=3
        ).map(lambda named: {**named, "title": named.get("title", "title")}),
    ),
    some(k=st.integers(1, 1_000), budget_ms=st.integers(1, 1_000), unknown=odd),
)
hits = st.lists(
    rarely(odd, some(title=text, brand=text, product=some(title=text, attributes=odd), a=some(b=odd)) | st.dictionaries(fields, odd, max_size=3)),
    min_size=1,
    max_size=5,
)
bodies = st.fixed_dictionaries({"request": rarely(odd, requests_to_search), "settings": rarely(odd, pipeline_settings), "documents": rarely(odd, hits)})


@pytest.mark.parametrize("path", [REWRITE, SCORE])
def test_search_requests_made_from_a_grammar(description: Any, session: requests.Session, url: str, path: str) -> None:
    case = description[path]["POST"].Case(body=VALID)
    statuses: Counter[int] = Counter()

    @examples(1_500)
    @given(bodies)
    def send(body: dict[str, Any]) -> None:
        response = session.post(url + path, data=json.dumps(body), headers={"Content-Type": "application/json"}, timeout=60)
        statuses[response.status_code] += 1
        case.validate_response(schemathesis.Response.from_any(response), checks=AS_DESCRIBED)
        if response.status_code == 200 and path == REWRITE:
            assert isinstance(json.loads(response.json()["request"]), dict)
        if response.status_code == 200 and path == SCORE:
            assert len(response.json()["scores"]) == len(body["documents"])

    send()
    assert {200, 422} <= statuses.keys() <= {200, *REFUSED}, statuses


@pytest.mark.parametrize("path", [REWRITE, SCORE])
def test_broken_bodies(description: Any, session: requests.Session, url: str, path: str) -> None:
    case = description[path]["POST"].Case(body=VALID)
    statuses: Counter[int] = Counter()
    places = st.integers(0, len(BODY))

    @examples(700)
    @given(places, st.sampled_from(HOSTILE) | st.binary(max_size=8), places | st.none())
    def send(at: int, what: bytes, end: int | None) -> None:
        broken = (BODY[:at] + what + BODY[at:])[:end]
        response = session.post(url + path, data=broken, headers={"Content-Type": "application/json"}, timeout=60)
        statuses[response.status_code] += 1
        case.validate_response(schemathesis.Response.from_any(response), checks=AS_DESCRIBED)

    send()
    assert {200, 400, 422} <= statuses.keys() <= {200, *REFUSED}, statuses
