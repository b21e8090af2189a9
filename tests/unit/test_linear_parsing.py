"""The work of the parsers behind the search pipeline's endpoints grows with their input, not with its square."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import pairwise
from types import FrameType
from typing import Any

import pytest

from reranker.service.search_pipeline import query_words as words
from reranker.service.search_pipeline import request_rewriting as rewriting
from reranker.service.search_pipeline.hit_scoring import product_of
from reranker.service.search_pipeline.request_rewriting import PipelineSettings, rewrite

SETTINGS = PipelineSettings(fields={"title": "product.title", "description": "a.b.c.d"})


def work_of(call: Callable[[], object]) -> int:
    """Return how many bytecodes of Python a call executes."""
    count = 0

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def request(query: Any, **more: Any) -> dict[str, Any]:
    return {"query": query, **more}


def nested(levels: int) -> Any:
    clause: Any = {"match": {"title": "x"}}
    for _ in range(levels):
        clause = {"bool": {"must": [clause]}}
    return clause


INPUTS: dict[str, Callable[[int], Callable[[], object]]] = {
    "distinct match clauses": lambda n: lambda: rewrite(request({"bool": {"should": [{"match": {"title": f"w{i}"}} for i in range(n)]}}), SETTINGS),
    "texts in one clause": lambda n: lambda: rewrite(request({"match": {f"f{i}": f"w{i}" for i in range(n)}}), SETTINGS),
    "letters in query_string": lambda n: lambda: rewrite(request({"query_string": {"query": "a" * n}}), SETTINGS),
    "levels": lambda n: lambda: rewrite(request(nested(n // 16)), SETTINGS),
    "steps to the query's text": lambda n: lambda: rewrite({"ext": {"rerank": {"query_context": {"query_text_path": "a." * n}}}}, SETTINGS),
    "patterns": lambda n: lambda: rewrite(request({"match": {"title": "x"}}, _source={"excludes": [f"a*{i}*b" for i in range(n)]}), SETTINGS),
    "letters of a pattern": lambda n: lambda: rewrite(request({"match": {"title": "x"}}, _source={"excludes": ["*a" * n]}), SETTINGS),
    "values of a field": lambda n: lambda: product_of({"a": [{"b": [{"c": {"d": str(i)}}]} for i in range(n)]}, SETTINGS.fields),
    "names of a hit": lambda n: lambda: product_of({f"a.{i}": i for i in range(n)}, SETTINGS.fields),
}


@pytest.mark.parametrize("name", INPUTS)
def test_twice_the_input_is_at_most_twice_the_work(name: str) -> None:
    """Sizes are doubled from within the limits to far beyond them."""
    counts = [work_of(INPUTS[name](64 * 2**step)) for step in range(8)]
    for smaller, larger in pairwise(counts):
        assert larger <= 2.2 * smaller + 100, counts


def test_expressions_never_see_a_text_over_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "_without_syntax", lambda text: pytest.fail(f"it was given {len(text):,} characters"))
    _, reason = rewrite(request({"query_string": {"query": "a:" * 65_000}}), SETTINGS)
    assert reason == "the query is too long"


@pytest.mark.parametrize(
    ("name", "pattern", "matches"),
    [
        ("product.title", "product.title", True),
        ("product.title", "product.*", True),
        ("product.title", "*.title", True),
        ("product.title", "*", True),
        ("product.title", "p*t*e", True),
        ("product.title", "p*x*e", False),
        ("product.title", "*title*title", False),
        ("aba", "ab*ba", False),
        ("product.title", "product.[a-z]itle", False),
        ("", "*", True),
    ],
)
def test_a_pattern_of_source_matches_as_in_opensearch(name: str, pattern: str, matches: bool) -> None:
    assert rewriting._matches(name, pattern) == matches


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"query_string": {"query": "a" * 130_000}}, "the query is too long"),
        ({"match": {"title": "a" * 1_001}}, "the query is too long"),
        ({"bool": {"should": [{"match": {"title": f"w{i}"}} for i in range(400)]}}, "the query is too long"),
        ({"bool": {"should": [{"match": {"title": "laptop"}}] * 16_000}}, "the query has too many clauses"),
        (nested(60), "the query is nested too deeply"),
    ],
)
def test_a_query_over_the_limits_comes_back_unchanged(query: Any, reason: str) -> None:
    body = request(query, size=3)
    assert rewrite(body, SETTINGS) == (body, reason)


@pytest.mark.parametrize("source", [5, [5], {"includes": 5}, {"excludes": ["x" * 24_000]}, ["x"] * 1_000])
def test_a_source_filter_that_cannot_be_read_comes_back_unchanged(source: Any) -> None:
    body = request({"match": {"title": "laptop"}}, _source=source)
    new, reason = rewrite(body, SETTINGS)
    assert new == body
    assert reason is not None
    assert "_source" in reason


def test_a_source_of_null_is_none() -> None:
    new, reason = rewrite(request({"match": {"title": "laptop"}}, _source=None), SETTINGS)
    assert reason is None
    assert new["_source"] is None
