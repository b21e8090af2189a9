"""Cases of the endpoints that OpenSearch's search pipeline calls: hostile search requests, settings and hits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.hostile.body_cases import NESTINGS, NUMBERS, SURROGATE, UNUSABLE, nested
from tests.hostile.case import Case, large
from tests.hostile.raw_http import Json, obj, post

REWRITE, SCORE = "/opensearch/request", "/opensearch/rerank"
FIELDS = {"fields": {"title": "title"}}
QUERY = {"match": {"title": "laptop"}}
HITS = [{"title": "desk"}, {"title": "laptop"}]
ANY: set[int | str] = {200, 409, 413, 422}
"""Used, not to be reranked (409), or refused with the field's name."""


def both(name: str, request: Any, allowed: set[int | str] = ANY, *, settings: Any = FIELDS, documents: Any = HITS, says: str = "") -> Case:
    """The same request to both endpoints."""
    rewriting = post(REWRITE, obj(request=request, settings=settings))
    return Case(name, (rewriting, post(SCORE, obj(request=request, settings=settings, documents=documents))), allowed, says)


def query(clause: Any, **more: Any) -> Json:
    return obj(query=clause, **more)


def wrapped(before: str, after: str, depth: int) -> Json:
    return Json(before * depth + '{"match":{"title":"laptop"}}' + after * depth)


def words() -> Iterator[Case]:
    for name, text in {
        "letters": "a" * 130_000,
        "letters with a colon": "a" * 130_000 + ":",
        "letters, points and stars": "a.*" * 40_000,
        "a colon each": "a:" * 65_000,
        "spaces": " " * 130_000 + "a",
        "negations": "-" * 130_000,
        "negated words": "-a " * 40_000,
        "NOT": "NOT " * 30_000,
        "weights": "^9" * 60_000,
        "digits after a weight": "~" + "9." * 60_000,
        "brackets": "(" * 130_000,
        "operators": "AND OR && || " * 10_000,
        "backslashes": "\\" * 130_000,
        "quotes": '"' * 130_000,
        "line breaks": "\n" * 130_000,
        "marks": "a" + "\u0301" * 50_000,
    }.items():
        yield both(f"query_string of {name}", {"query": {"query_string": {"query": text}}})
        yield both(f"match of {name}", {"query": {"match": {"title": text}}})
    clauses = [{"match": {"title": f"word{i}"}} for i in range(16_000)]
    yield both("16,000 match clauses", {"query": {"bool": {"should": clauses}}})
    yield both("16,000 clauses of one word", {"query": {"bool": {"must": [QUERY] * 16_000}}})
    yield both("16,000 fields in a match", {"query": {"match": {f"f{i}": f"word{i}" for i in range(16_000)}}})
    yield both(
        "4,000 clauses in a hybrid", {"query": {"hybrid": {"queries": [{"multi_match": {"query": f"w{i}", "fields": ["a"] * 20}} for i in range(4_000)]}}}
    )
    yield both("clauses that contain each other", {"query": {"dis_max": {"queries": [{"match": {"t": "a" * i}} for i in range(1, 1_000)]}}})
    yield both("pairs of clauses 5,000 times", {"query": {"bool": {k: [{"term": {"a": i}} for i in range(5_000)] for k in ("must", "should", "filter")}}})
    for name, value in {"null": None, "list": ["a"], "object": {"a": 1}, "true": True, "huge": 10**400, "float": 1e308, "empty": "", "nested": [[[]]]}.items():
        for kind in ("match", "multi_match", "query_string", "bool", "function_score", "nested", "hybrid", "pinned", "neural"):
            yield both(f"{kind}: {name}", {"query": {kind: value}})
        yield both(f"match of a field: {name}", {"query": {"match": {"title": value}}})
        yield both(f"text of multi_match: {name}", {"query": {"multi_match": {"query": value}}})
        yield both(f"query: {name}", {"query": value})


def paths() -> Iterator[Case]:
    for name, path in {
        "80,000 steps": "a." * 80_000 + "a",
        "80,000 points": "." * 80_000,
        "numbers": "query.0." * 10_000,
        "a number of 5,000 digits": "query." + "9" * 5_000,
        "Arabic digits": "query.٣",
        "superscript digits": "query.bool.must.²",
        "nothing": "",
        "its own value": "ext.rerank.query_context.query_text_path",
        "dunder": "__class__.__init__.__globals__",
        "half a character": SURROGATE,
    }.items():
        context = {"ext": {"rerank": {"query_context": {"query_text_path": path}}}, "query": {"bool": {"must": [QUERY]}}}
        yield both(f"query_text_path of {name}", context)
        yield both(f"field path of {name}", {"query": QUERY}, settings={"fields": {"title": path}})
        yield both(
            f"field path of {name}, in nested documents",
            {"query": QUERY},
            settings={"fields": {"title": path}},
            documents=[{"a": [{"a": {"a.a": 1}}] * 10}] * 10,
        )
    for name, value in {"null": None, "list": [], "number": 1, "object": {}, "text": "x", "half a character": SURROGATE}.items():
        yield both(f"query_text: {name}", {"ext": {"rerank": {"query_context": {"query_text": value}}}, "query": QUERY})
        yield both(f"query_text_path: {name}", {"ext": {"rerank": {"query_context": {"query_text_path": value}}}, "query": QUERY})
        yield both(f"query_context: {name}", {"ext": {"rerank": {"query_context": value}}, "query": QUERY})
        yield both(f"ext: {name}", {"ext": value, "query": QUERY})
    deep = Json("[" + ",".join(['{"a":' * 12 + "1" + "}" * 12] * 1_000) + "]")
    for steps in (90, 450, 10_000):
        title = ".".join("a" * steps)
        yield both(f"a path of {steps:,} steps through 1,000 deep hits", {"query": QUERY}, settings={"k": 1_000, "fields": {"title": title}}, documents=deep)


def sources() -> Iterator[Case]:
    for name, pattern in {
        "stars": "*" * 24_000,
        "stars and letters": "*a" * 12_000 + "b",
        "open brackets": "[" * 24_000,
        "stars and brackets": "*[" * 12_000,
        "classes": "[a-z]" * 4_800,
        "negated classes": "[!a]*" * 4_800,
        "question marks": "?*" * 12_000,
        "backslashes": "\\" * 24_000,
        "points": "." * 24_000,
        "half a character": SURROGATE,
    }.items():
        for where in ("includes", "excludes"):
            yield both(
                f"{where} of {name}", {"query": QUERY, "_source": {where: [pattern]}}, settings={"fields": {"title": "a" * 1_000, "brand": "a.b.c" * 50}}
            )
        yield both(f"_source of {name}", {"query": QUERY, "_source": pattern})
    yield both("16,000 patterns", {"query": QUERY, "_source": {"excludes": [f"*a{i}*" for i in range(16_000)], "includes": [f"b{i}" for i in range(16_000)]}})
    yield both(
        "16,000 patterns for 900 fields",
        {"query": QUERY, "_source": {"excludes": ["*x"] * 16_000}},
        settings={"fields": {f"f{i}": f"a.b.c{i}" for i in range(900)}},
    )
    for name, value in {
        "null": None,
        "number": 1,
        "list of numbers": [1, 2],
        "nested list": [["a"], [["b"]]],
        "empty": {},
        "text": "",
        "true": True,
        "false": False,
    }.items():
        yield both(f"_source: {name}", {"query": QUERY, "_source": value})
        for where in ("includes", "excludes", "include", "exclude"):
            yield both(f"_source.{where}: {name}", {"query": QUERY, "_source": {where: value}})
    yield Case("_source: null is as none", post(REWRITE, {"request": {"query": QUERY, "_source": None}, "settings": FIELDS}), {200})


def pages() -> Iterator[Case]:
    for number in NUMBERS:
        named = number if len(number) < 20 else f"{number[:6]}… ({len(number):,} characters)"
        for field in ("from", "size", "track_total_hits", "min_score", "sort", "search_after", "slice", "stored_fields"):
            yield both(f"{field}: {named}", obj(query=QUERY, **{field: Json(number)}), {*ANY, 400})
        yield both(f"k: {named}", {"query": QUERY}, {*ANY, 400}, settings=obj(k=Json(number), **FIELDS))
        yield both(f"budget_ms: {named}", {"query": QUERY}, {*ANY, 400}, settings=obj(budget_ms=Json(number), **FIELDS))
    for name, sort in {
        "text": "_score",
        "empty list": [],
        "empty object": [{}],
        "list of lists": [["_score"]],
        "null": [None],
        "order of numbers": [{"_score": 1}],
        "nested order": [{"_score": {"order": {"order": "desc"}}}],
        "half a character": SURROGATE,
        "10,000 keys": [{f"a{i}": "desc"} for i in range(10_000)],
    }.items():
        yield both(f"sort by {name}", {"query": QUERY, "sort": sort})
    for k in (0, -1, 1_001, 10**400, "50x", None, [], 1.5):
        yield both(f"settings k {str(k)[:10]}", {"query": QUERY}, {422}, settings={"k": k, **FIELDS}, says="k")
    yield both("budget_ms of 0", {"query": QUERY}, {422}, settings={"budget_ms": 0, **FIELDS}, says="budget_ms")


def settings() -> Iterator[Case]:
    for name, fields in {
        "null": None,
        "list": [],
        "empty": {},
        "number": 1,
        "numbers": {"title": 1},
        "lists": {"title": ["a"]},
        "nested": {"title": {"a": "b"}},
    }.items():
        yield both(f"fields: {name}", {"query": QUERY}, {422}, settings={"fields": fields}, says="fields")
    many = {f"f{i}": f"a.b{i}" for i in range(20_000)}
    yield both("20,000 fields", {"query": QUERY}, settings={"fields": many})
    yield both("2,000 fields of 200 steps", {"query": QUERY}, settings={"fields": {f"f{i}": ".".join(["a"] * 200) for i in range(2_000)}})
    yield both("a field name of 1 MB", {"query": QUERY}, settings={"fields": {"a" * 1_000_000: "a", "title": "title"}})
    yield both("a field name of half a character", {"query": QUERY}, {422}, settings={"fields": {SURROGATE: "a", "title": "title"}}, says="fields")
    yield both("a path of half a character", {"query": QUERY}, {422}, settings={"fields": {"title": SURROGATE}}, says="fields")
    yield both("unknown settings", {"query": QUERY}, settings={**FIELDS, "x" * 10_000: ["y"] * 10_000})
    for name, value in {"null": None, "list": [], "text": "x", "number": 1}.items():
        yield both(f"settings: {name}", {"query": QUERY}, {422}, settings=value, says="settings")
        yield both(f"request: {name}", value, {422}, says="request")


def nesting() -> Iterator[Case]:
    for depth in NESTINGS:
        allowed = {*ANY, 400} if depth <= 90 else UNUSABLE
        levels = depth // 4 + 1  # each bool clause is an object, a list or two and an object again
        boolean = wrapped('{"bool":{"must":[', "]}}", levels)
        yield both(f"bool clauses {levels:,} deep", query(boolean), {*ANY, 400})
        yield both(f"function_score {levels:,} deep", query(wrapped('{"function_score":{"query":', "}}", levels)), {*ANY, 400})
        for name, value in nested(depth):
            yield both(f"{depth:,} nested {name} as a query", query(value), allowed)
            yield both(f"{depth:,} nested {name} beside the query", query(QUERY, aggs=value), allowed)
            yield Case(
                f"{depth:,} nested {name} as a hit",
                post(SCORE, obj(request={"query": QUERY}, settings=FIELDS, documents=Json(f'[{{"title":{value}}}]'))),
                allowed,
            )
        yield both(f"{depth:,} nested lists as a field", {"query": QUERY}, UNUSABLE, settings=Json('{"fields":{"title":' + "[" * depth + "]" * depth + "}}"))


def hits() -> Iterator[Case]:
    def scored(name: str, documents: Any, allowed: set[int | str] = ANY, says: str = "") -> Case:
        return Case(f"hits: {name}", post(SCORE, obj(request={"query": QUERY}, settings=FIELDS, documents=documents)), allowed, says)

    for name, documents in {"null": None, "empty": [], "object": {}, "texts": ["a"], "nulls": [None], "lists": [[]], "numbers": [1]}.items():
        yield scored(name, documents, {422}, "documents")
    for name, value in {
        "null": None,
        "list": ["a", ["b"]],
        "object": {"a": 1},
        "number": 10**400,
        "true": True,
        "empty": "",
        "nested": {"a": [{"b": [1]}]},
    }.items():
        yield scored(f"title {name}", [{"title": value}, {"title": "laptop"}], {200, 422})
    yield scored("half a character", [{"title": SURROGATE}], {422}, "documents")
    yield scored("half a character in a name", [{SURROGATE: "a", "title": "a"}], {422}, "documents")
    yield scored("10,001", [{"title": "a"}] * 10_001, {422}, "documents")
    yield scored("10,000", [{"title": "a"}] * 10_000, {200})
    yield scored("100,000 empty", [{}] * 100_000, {413, 422})
    yield scored("of a million lists", Json('[{"title":[' + "[]," * 400_000 + "[]]}]"), {200, 413, 422})
    one = "laptop " * 2_857
    yield Case(
        "hits: 1,000 of 20 kB",
        large(lambda: post(SCORE, {"request": {"query": QUERY}, "settings": {**FIELDS, "k": 1_000}, "documents": [{"title": one}] * 1_000})),
        {200, 413, 422, 503},
    )
    yield Case(
        "hits: one of 31 MB",
        large(lambda: post(SCORE, {"request": {"query": QUERY}, "settings": FIELDS, "documents": [{"title": "laptop " * 4_400_000}]})),
        {200, 413, 422},
    )
    yield Case(
        "hits: 10,000 of 3 kB",
        large(lambda: post(SCORE, {"request": {"query": QUERY}, "settings": {**FIELDS, "k": 1_000}, "documents": [{"title": "a" * 3_000}] * 10_000})),
        {200, 413, 422},
    )


CASES = [*words(), *paths(), *sources(), *pages(), *settings(), *nesting(), *hits()]
