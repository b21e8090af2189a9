"""Extracts the shopper's query from a search request in OpenSearch's query language."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_BY_FIELD = ("match", "match_phrase", "match_phrase_prefix", "match_bool_prefix", "neural", "neural_sparse", "common")
_WHOLE = ("multi_match", "combined_fields")
_SYNTAX = ("query_string", "simple_query_string")
_WRAPPED = {  # compound clause → its parts that may hold the shopper's words; filters and negations come from the shop
    "bool": ("must", "should"),
    "dis_max": ("queries",),
    "hybrid": ("queries",),
    "function_score": ("query",),
    "script_score": ("query",),
    "constant_score": ("filter",),
    "boosting": ("positive",),
    "nested": ("query",),
    "has_child": ("query",),
    "has_parent": ("query",),
    "pinned": ("organic",),
}
_TEXT_KEYS = ("query", "query_text")


def query_words(request: Mapping[str, Any]) -> str:
    """Return the words that a search request asks for, or "" if it has none.

    ``ext.rerank.query_context`` (``query_text``, or the path ``query_text_path``) takes precedence. Otherwise the texts of the
    query's full-text clauses are joined, each distinct text once, in their order.
    """
    stated = _stated(request)
    if stated:
        return stated
    found: list[str] = []
    for text in _texts(request.get("query")):
        text = " ".join(text.split())
        if text and not any(text.lower() in other.lower() for other in found):
            found = [other for other in found if other.lower() not in text.lower()] + [text]
    return " ".join(found)


def _stated(request: Mapping[str, Any]) -> str:
    context = _at(request, "ext.rerank.query_context")
    if not isinstance(context, Mapping):
        return ""
    text = context.get("query_text")
    if text is None and isinstance(path := context.get("query_text_path"), str):
        text = _at(request, path)
    return text.strip() if isinstance(text, str) else ""


def _at(node: Any, path: str) -> Any:
    for step in path.split("."):
        if isinstance(node, list) and step.isdecimal() and int(step) < len(node):
            node = node[int(step)]
        elif isinstance(node, Mapping):
            node = node.get(step)
        else:
            return None
    return node


def _texts(clause: Any) -> Iterator[str]:
    if isinstance(clause, list):
        for one in clause:
            yield from _texts(one)
        return
    if not isinstance(clause, Mapping):
        return
    for kind, body in clause.items():
        if kind in _BY_FIELD and isinstance(body, Mapping):
            for value in body.values():
                yield from _own_text(value)
        elif kind in _WHOLE:
            yield from _own_text(body)
        elif kind in _SYNTAX:
            for text in _own_text(body):
                yield _without_syntax(text)
        elif kind in _WRAPPED and isinstance(body, Mapping):
            for where in _WRAPPED[kind]:
                yield from _texts(body.get(where))


def _own_text(body: Any) -> Iterator[str]:
    if isinstance(body, str):
        yield body
    elif isinstance(body, int | float) and not isinstance(body, bool):
        yield str(body)
    elif isinstance(body, Mapping):
        for key in _TEXT_KEYS:
            if isinstance(body.get(key), str | int | float):
                yield from _own_text(body[key])


def _without_syntax(text: str) -> str:
    """Remove fields, operators, negated words and weights: ``title:laptop AND -bag`` becomes "laptop"."""
    text = re.sub(r"(?<!\S)[-!]\S+|\bNOT\s+\S+", " ", text)
    text = re.sub(r"[\w.*]+:(?=\S)", "", text)
    text = re.sub(r"\b(AND|OR)\b|&&|\|\|", " ", text)
    return re.sub(r"[~^][\d.]*|[+()\[\]{}\"*?/\\|]", " ", text)
