"""Extracts the shopper's query from a search request in OpenSearch's query language."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from reranker.first_stage import MAX_QUERY_CHARACTERS

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
_LARGEST_NUMBER = 10**18  # a longer one is no word of a shopper

# Each expression begins only where the character before it shows a beginning, so that time is linear.
_NEGATED = re.compile(r"(?<!\S)[-!]\S+|\bNOT\s+\S+")
_FIELD = re.compile(r"(?<![\w.*])[\w.*]+:(?=\S)")
_OPERATOR = re.compile(r"\b(?:AND|OR)\b|&&|\|\|")
_SIGN = re.compile(r"[~^][\d.]*|[+()\[\]{}\"*?/\\|]")

MAX_CLAUSES = 1_024
"""As OpenSearch's own limit, ``indices.query.bool.max_clause_count``."""
MAX_LEVELS = 50
MAX_PATH_CHARACTERS = 256
TOO_LONG = "the query is too long"


class NotReadable(Exception):
    """A search request whose hits cannot be reranked; the message is the fallback reason."""


def query_words(request: Mapping[str, Any]) -> str:
    """Return the words that a search request asks for, or "" if it has none.

    ``ext.rerank.query_context`` (``query_text``, or the path ``query_text_path``) takes precedence. Otherwise the texts of the
    query's full-text clauses are joined, each distinct text once, in their order.

    Raises:
        NotReadable: the query is too long, or has too many clauses or too many levels.
    """
    stated = _stated(request)
    if stated:
        return _short(stated)
    texts = _Texts()
    texts.read(request.get("query"), 0)
    return " ".join(_without_repeated(texts.found))


def _without_repeated(texts: list[str]) -> list[str]:
    """Return the texts that are not part of another one, in their order."""
    spelt: dict[str, str] = {}
    for text in (" ".join(text.split()) for text in texts):
        if text:
            spelt.setdefault(text.lower(), text)
    kept: set[str] = set()
    joined = ""
    for lower in sorted(spelt, key=len, reverse=True):
        if lower not in joined:
            kept.add(lower)
            joined += f"\n{lower}"
            if len(joined) > MAX_QUERY_CHARACTERS + 1:
                raise NotReadable(TOO_LONG)
    return [text for lower, text in spelt.items() if lower in kept]


def _short(text: str) -> str:
    if len(text) > MAX_QUERY_CHARACTERS:
        raise NotReadable(TOO_LONG)
    return text


def _stated(request: Mapping[str, Any]) -> str:
    context = _at(request, "ext.rerank.query_context")
    if not isinstance(context, Mapping):
        return ""
    text = context.get("query_text")
    if text is None and isinstance(path := context.get("query_text_path"), str):
        text = _at(request, path)
    return text.strip() if isinstance(text, str) else ""


def _at(node: Any, path: str) -> Any:
    if len(path) > MAX_PATH_CHARACTERS:
        raise NotReadable("the path of the query's text is too long")
    for step in path.split("."):
        if isinstance(node, list) and step.isascii() and step.isdecimal() and int(step) < len(node):
            node = node[int(step)]
        elif isinstance(node, Mapping):
            node = node.get(step)
        else:
            return None
    return node


class _Texts:
    """Collects the texts of full-text clauses."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._clauses = 0

    def read(self, clause: Any, level: int) -> None:
        self._clauses += 1
        if self._clauses > MAX_CLAUSES:
            raise NotReadable("the query has too many clauses")
        if level > MAX_LEVELS:
            raise NotReadable("the query is nested too deeply")
        if isinstance(clause, list):
            for one in clause:
                self.read(one, level + 1)
        elif isinstance(clause, Mapping):
            for kind, body in clause.items():
                if kind in _BY_FIELD and isinstance(body, Mapping):
                    for value in body.values():
                        self._add(_own_text(value))
                elif kind in _WHOLE:
                    self._add(_own_text(body))
                elif kind in _SYNTAX:
                    self._add(_without_syntax(_short(_own_text(body))))
                elif kind in _WRAPPED and isinstance(body, Mapping):
                    for where in _WRAPPED[kind]:
                        self.read(body.get(where), level + 1)

    def _add(self, text: str) -> None:
        self._clauses += 1
        if self._clauses > MAX_CLAUSES:
            raise NotReadable("the query has too many clauses")
        self.found.append(_short(text))


def _own_text(body: Any) -> str:
    if isinstance(body, str):
        return body
    if isinstance(body, int | float) and not isinstance(body, bool):
        return "" if isinstance(body, int) and abs(body) > _LARGEST_NUMBER else str(body)
    if isinstance(body, Mapping):
        texts = [_own_text(body[key]) for key in _TEXT_KEYS if isinstance(body.get(key), str | int | float)]
        return " ".join(text for text in texts if text)
    return ""


def _without_syntax(text: str) -> str:
    """Remove fields, operators, negated words and weights: ``title:laptop AND -bag`` becomes "laptop"."""
    text = _NEGATED.sub(" ", text)
    text = _FIELD.sub("", text)
    text = _OPERATOR.sub(" ", text)
    return _SIGN.sub(" ", text)
