"""Cases of the rerank endpoints' JSON, and of the parameters of `/search`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from tests.hostile.case import CLOSED, Case, large
from tests.hostile.raw_http import Json, get, obj, post

SURROGATE = "\ud800"
NESTINGS = (90, 210, 480, 5_000, 100_000)
"""The first is within the service's limit."""
NUMBERS = ("NaN", "-Infinity", "1e999", "-0", "9" * 400, "9" * 5_000, "1." + "1" * 100_000, "1e-999999999", "1.5", "true", '"1"', "[]", "{}")
UNUSABLE: set[int | str] = {400, 422}
TOO_MUCH: set[int | str] = {400, 413, 422}


def rerank(**fields: Any) -> bytes:
    return post("/v2/rerank", obj(**{"query": "laptop", "documents": ["laptop"], **fields}))


def texts(**fields: Any) -> bytes:
    return post("/rerank", obj(**{"query": "laptop", "texts": ["laptop"], **fields}))


def nested(depth: int) -> Iterator[tuple[str, Json]]:
    """Values of a depth: of lists, of objects, and of both in turn."""
    yield "lists", Json("[" * depth + "]" * depth)
    yield "objects", Json('{"a":' * depth + "1" + "}" * depth)
    yield "both", Json('[{"a":' * (depth // 2) + "1" + "}]" * (depth // 2))


def product(**fields: Any) -> bytes:
    return rerank(documents=Json(f"[{obj(**{'title': 'laptop', **fields})}]"))


def bodies() -> Iterator[Case]:
    whole = json.dumps({"query": "laptop", "documents": ["laptop"]}).encode()
    for name, body in {
        "nothing": b"",
        "null": b"null",
        "a list": b"[]",
        "a string": b'"x"',
        "a number": b"1",
        "half": whole[:-5],
        "two objects": whole + b"\n" + whole,
        "a comma too many": whole[:-1] + b",}",
        "comments": b"/* */" + whole,
        "single quotes": whole.replace(b'"', b"'"),
        "no UTF-8": whole.replace(b"laptop", b"\xff\xfe"),
        "surrogates as UTF-8": whole.replace(b"laptop", b"\xed\xa0\x80"),
        "zero bytes": whole.replace(b"laptop", b"\x00"),
        "a tab in a string": whole.replace(b"laptop", b"\t"),
        "UTF-16": whole.decode().encode("utf-16"),
        "UTF-32": whole.decode().encode("utf-32"),
        "pickle": b"\x80\x04\x95\x00\x00\x00\x00",
        "XML": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
        "brackets": b"[" * 1_000_000,
        "quotes": b'"' * 1_000_001,
        "backslashes": b'{"query":"' + b"\\" * 1_000_000,
        "half an escape": b'{"query":"\\u12',
    }.items():
        yield Case(f"body: {name}", post("/v2/rerank", body), {200, *TOO_MUCH} if name in ("UTF-16", "UTF-32") else TOO_MUCH)
    yield Case("body: byte order mark", post("/v2/rerank", b"\xef\xbb\xbf" + whole), {200, *UNUSABLE})
    yield Case("a megabyte of spaces around", post("/v2/rerank", b" " * 1_000_000 + whole + b"\n" * 1_000_000), {200})
    lines = b"[" + b",".join([b"\r\n1"] * 10_000) + b"\r\n]"
    yield Case("a short line for each value", post("/v2/rerank", whole[:-1] + b',\r\n"model":' + lines + b"}"), {200})
    yield Case("a query twice", post("/v2/rerank", b'{"query":"a",' + whole[1:]), {200, *UNUSABLE})
    yield Case("documents 100,000 times", post("/v2/rerank", b'{"query":"a"' + b',"documents":["a"]' * 100_000 + b"}"), {200, *TOO_MUCH})
    yield Case(
        "100,000 unknown fields",
        post("/v2/rerank", b'{"query":"a","documents":["a"]' + b"".join(b',"f%d":1' % i for i in range(100_000)) + b"}"),
        {200, *TOO_MUCH},
    )
    yield Case("field names of 1 MB", post("/v2/rerank", b'{"query":"a","documents":["a"],"' + b"x" * 1_000_000 + b'":1}'), {200, *TOO_MUCH})
    yield Case("escapes of 6 MB", rerank(query=Json('"' + "\\u0041" * 1_000_000 + '"')), {422}, "query")
    yield Case("ten million lists", large(lambda: rerank(model=Json("[" + "[]," * 10_000_000 + "[]]"))), {413}, "values")
    yield Case("three million objects", large(lambda: rerank(model=Json("[" + '{"":{}},' * 3_000_000 + "{}]"))), {413}, "values")
    yield Case("600,000 numbers", rerank(model=Json("[" + "1," * 600_000 + "1]")), {200, 413})
    yield Case("400,000 numbers", rerank(model=Json("[" + "1," * 400_000 + "1]")), {200, 422})
    yield Case("a string of 31 MB", large(lambda: rerank(query="x" * 31_000_000)), {422, 413}, "query")
    yield Case("a string of 31 MB that nobody reads", large(lambda: rerank(model="é" * 5_000_000)), {200, 413, 422})
    yield Case("a number of 31 MB", large(lambda: rerank(top_n=Json("9" * 31_000_000))), TOO_MUCH)


def depths() -> Iterator[Case]:
    for depth in NESTINGS:
        allowed: set[int | str] = {200, 422} if depth <= 90 else UNUSABLE
        for name, value in nested(depth):
            yield Case(f"{depth:,} nested {name} as an unknown field", rerank(model=value), allowed)
            yield Case(f"{depth:,} nested {name} as attributes", product(attributes=value), allowed)
        yield Case(f"{depth:,} nested lists as documents", rerank(documents=Json("[" * depth + '"a"' + "]" * depth)), UNUSABLE)
        yield Case(f"{depth:,} nested lists as a text", texts(texts=Json("[" * depth + '"a"' + "]" * depth)), UNUSABLE)
        yield Case(f"{depth:,} nested lists as a rerank query", rerank(query=Json("[" * depth + "]" * depth)), UNUSABLE)
        yield Case(f"{depth:,} nested lists as the body", post("/v2/rerank", Json("[" * depth + "]" * depth)), UNUSABLE)


def queries() -> Iterator[Case]:
    for name, query in {"empty": "", "spaces": "  ", "1,001 letters": "a" * 1_001, "10 MB": "a" * 10_000_000, "1,001 line breaks": "\n" * 1_001}.items():
        yield Case(f"rerank query: {name}", rerank(query=query), {422}, "query")
    for name, query in {"null": None, "number": 1, "list": ["a"], "object": {"a": 1}, "true": True}.items():
        yield Case(f"rerank query: {name}", rerank(query=query), {422}, "query")
        yield Case(f"query of texts: {name}", texts(query=query), {422}, "query")
    for name, query in {
        "zero byte": "lap\x00top",
        "controls": "\x1b[2J\x07\x9b",
        "marks": "a" + "\u0301" * 999,
        "direction": "\u202e" * 1_000,
        "emoji": "👩‍👩‍👧‍👦" * 100,
    }.items():
        yield Case(f"rerank query: {name}", rerank(query=query), {200, 422})
    yield Case("query of half a character", rerank(query=SURROGATE), {422}, "query")
    yield Case("query of texts of half a character", texts(query="a" + SURROGATE), {422}, "query")
    yield Case("no query", post("/v2/rerank", {"documents": ["a"]}), {422}, "query")


def documents() -> Iterator[Case]:
    odd: list[Any] = [None, {}, "", "a", 1, [], [[]], [None], [1], [{}], [True], [["a"]], [{"title": None}], [{"title": ["a"]}], [{"text": 1}], {"0": "a"}]
    for value in odd:
        yield Case(f"documents: {value!r}", rerank(documents=value), {422}, "documents")
        yield Case(f"texts: {value!r}", texts(texts=value), {422}, "texts")
    yield Case("1,001 documents", rerank(documents=["a"] * 1_001), {422}, "documents")
    yield Case("1,001 texts", texts(texts=["a"] * 1_001), {422}, "texts")
    yield Case("400,000 documents", rerank(documents=["a"] * 400_000), {422}, "documents")
    yield Case("a million documents", rerank(documents=["a"] * 1_000_000), {413, 422})
    yield Case("a document of 20,001 characters", rerank(documents=["a" * 20_001]), {422}, "documents")
    yield Case("a product of 20,001 characters", product(description="a" * 20_001), {422}, "documents")
    yield Case("a text of 20,001 characters", texts(texts=["a" * 20_001]), {422}, "texts")
    yield Case("1,000 documents of 20,001 characters", large(lambda: rerank(documents=["a" * 20_001] * 1_000)), {422, 413}, "")
    yield Case("1,000 documents at the limits", large(lambda: rerank(documents=["laptop " * 2_857] * 1_000)), {200, 413, 503})
    yield Case("1,000 documents of two bytes a letter", large(lambda: rerank(documents=["é" * 2_500] * 1_000)), {200, 413, 503})
    for name, text in {
        "one word": "x" * 20_000,
        "spaces": " " * 20_000,
        "line breaks": "\n" * 20_000,
        "zero bytes": "\x00" * 20_000,
        "marks": "a" + "\u0301" * 19_999,
        "emoji": "👩‍👩‍👧‍👦" * 2_000,
        "ideographs": "龘" * 20_000,
        "ligatures": "\ufdfa" * 20_000,
        "Hangul": "\u1100\u1161\u11a8" * 6_000,
        "no characters": "\uffff\ufffe" * 10_000,
        "direction": "\u202e\u202d" * 10_000,
        "special tokens": "[PAD][CLS][SEP][MASK][UNK]" * 700,
        "dots": "a." * 10_000,
        "punctuation": "'\"-_/\\" * 3_000,
        "nothing": "",
    }.items():
        yield Case(f"document of {name}", rerank(documents=[text, {"title": text[:19_000] or "a"}]), {200, 422})
        yield Case(f"text of {name}", texts(texts=[text]), {200, 422})
    for name, value in {
        "object": {"a": {"b": 1}},
        "list": [["a"], ["b"]],
        "number": 1e300,
        "huge number": 10**400,
        "null": None,
        "true": True,
        "objects": [{"name": "a"}],
        "deep": {"a": {"b": {"c": {"d": [1, [2, [3]]]}}}},
    }.items():
        for field in ("brand", "description", "attributes", "category", "id", "color"):
            yield Case(f"{field}: {name}", product(**{field: value}), {200, 422})
        yield Case(f"attribute: {name}", product(attributes={"a": value}), {200, 422})
        yield Case(f"title: {name}", product(title=value), {422}, "documents")
    yield Case("2,000 attributes", product(attributes={f"a{i}": "b" for i in range(1_000)}), {200, 422})
    yield Case("an attribute name of nothing", product(attributes={"": ""}), {200, 422})
    yield Case("attributes as pairs", product(attributes=[["a", "b"], {"name": "c", "value": "d"}, "e"]), {200, 422})


def surrogates() -> Iterator[Case]:
    half = SURROGATE
    for name, attack in {
        "document": rerank(documents=["a" + half]),
        "title": product(title=half),
        "text of an object": rerank(documents=[{"text": half}]),
        "brand": product(brand=half),
        "description": product(description=half),
        "category": product(category=[half]),
        "attribute name": product(attributes={half: "a"}),
        "attribute value": product(attributes={"a": half}),
        "attribute list": product(attributes={"a": ["b", half]}),
        "field name": product(**{half: "a"}),
        "unknown field of a product": product(other={"a": [{half: 1}]}),
        "low half": rerank(documents=["\udfff"]),
        "halves the wrong way round": rerank(documents=["\udfff\ud800"]),
    }.items():
        yield Case(f"half a character in a {name}", attack, {422}, "documents")
    yield Case("half a character in a text", texts(texts=["a", half]), {422}, "texts")
    yield Case("half a character in the model", rerank(model=half), {200, 422})
    yield Case("half a character in an unknown field name", rerank(**{half: 1}), {200, 422})
    yield Case("half a character in a document that comes back", rerank(documents=[{"title": "a", "x": half}], return_documents=True), {422}, "documents")
    yield Case("a whole pair", rerank(documents=["\U0001f600"], query="\U0001f600"), {200})


def numbers() -> Iterator[Case]:
    for number in NUMBERS:
        named = number if len(number) < 20 else f"{number[:6]}… ({len(number):,} characters)"
        yield Case(f"top_n {named}", rerank(top_n=Json(number)), {200, *UNUSABLE})
        yield Case(f"{named} as an attribute", product(attributes=Json(f'{{"a":{number}}}')), {200, *UNUSABLE})
        yield Case(f"{named} that nobody reads", rerank(model=Json(number)), {200, *UNUSABLE})
    for number in (0, -1, -(10**30), "x"):
        yield Case(f"top_n {number}", rerank(top_n=number), {422}, "top_n")
    for value in (None, "perhaps", 2, [], {}, "yes", 10**400):
        yield Case(f"return_documents {str(value)[:10]}", rerank(return_documents=value), {200, *UNUSABLE})
        yield Case(f"raw_scores {str(value)[:10]}", texts(raw_scores=value, return_text=value), {200, *UNUSABLE})
    yield Case("10,000 long numbers", rerank(model=Json("[" + ",".join(["9" * 300] * 10_000) + "]")), {200, *TOO_MUCH})


def searches() -> Iterator[Case]:
    many = "9" * 400
    for parameter in ("k", "size", "start"):
        for value in (many, f"-{many}", "-1", "1e3", "1.5", "NaN", "x", "", "0x10", "٣", "%00", "null", "[]", "1" * 5_000, "1_0", "+1", "%201"):
            yield Case(f"{parameter}={value[:10]}", get(f"/search?q=laptop&{parameter}={quote(value, safe='%')}"), {200, 400, 422, 431})
    for parameter in ("k=0", "k=1001", f"k={many}", "size=0", "size=1001", "start=10001", f"size={many}", f"start={many}", "size=1000&start=9001"):
        yield Case(f"search with {parameter[:20]}", get(f"/search?q=laptop&{parameter}"), {422}, parameter.split("=")[0] if "&" not in parameter else "")
    for value in ("perhaps", "2", "", "None"):
        yield Case(f"rerank={value}", get(f"/search?q=laptop&rerank={value}"), {422}, "rerank")
    yield Case("no q", get("/search"), {422}, "q")
    yield Case("empty q", get("/search?q="), {422}, "query")
    yield Case("q of 1,001 letters", get("/search?q=" + "a" * 1_001), {422}, "query")
    yield Case("q of 50 kB", get("/search?q=" + "a" * 50_000), {414, 422, 431})
    yield Case("q of 1 MB", get("/search?q=" + "a" * 1_000_000), {414, 431, 400})
    yield Case("q twice", get("/search?q=laptop&q=desk"), {200, 422})
    yield Case("10,000 parameters", get("/search?q=laptop&" + "&".join(f"a{i}=1" for i in range(5_000))), {200, 414, 422, 431})
    yield Case("q 5,000 times", get("/search?" + "&".join(["q=laptop"] * 5_000)), {200, 414, 422, 431})
    yield Case("semicolons and signs", get("/search?q=laptop;k=1&&&=&=1&a==b&%26=%3D"), {200, 422})
    for name, words in {
        "no UTF-8": "%ff%fe",
        "half a character": "%ed%a0%80",
        "zero byte": "%00",
        "raw bytes": "\udcff\udcc0",
        "half an escape": "%",
        "boolean operators": "AND+OR+NOT+%22+(+)+-",
        "field": "title:laptop+id:1+_doc:*",
        "wildcards": "***************************************",
        "regular expression": "/(a%2B)%2B$/",
        "ranges": "%5B*+TO+*%5D",
        "quotes": "%22" * 300,
        "brackets": "(" * 900,
        "negations": "NOT+" * 240,
        "fuzzy": "laptop~999999999",
        "boost": "laptop%5E" + "9" * 400,
        "many words": "+".join(f"w{i}" for i in range(200)),
        "the same word": "laptop+" * 140,
        "controls": "%1b%5B2J%07",
        "line breaks": "%0d%0aA:+b",
        "marks": "a" + "%cc%81" * 900,
        "emoji": "%f0%9f%91%a9" * 200,
        "markup": "<script>alert(1)</script>",
        "template": "$%7B7*7%7D%7B%7B7*7%7D%7D",
    }.items():
        yield Case(f"q: {name}", get(f"/search?q={words}"), {200, 400, 422, CLOSED} if name == "raw bytes" else {200, 400, 422})


CASES = [*bodies(), *depths(), *queries(), *documents(), *surrogates(), *numbers(), *searches()]
