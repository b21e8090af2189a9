"""Computes the scores by which the rerank processor sorts a pipeline's hits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reranker.service.engine import DECIMALS
from reranker.service.search_pipeline.request_rewriting import Window

_STEP = 3e-7  # OpenSearch keeps scores as float32, which still distinguishes this near 1


def scores_of_page(relevance: np.ndarray | None, window: Window, hits: int) -> list[float]:
    """Return one score for each of ``hits`` hits, which are in BM25 order. Sorting by them brings the wanted page to the front.

    The first ``len(relevance)`` hits are ordered by their relevance (float, (n,), 0 to 1; None if nothing was scored in time),
    deeper ones by BM25. A hit of the page has its relevance as score, or a negative score if it was not scored. Hits of other pages
    have lower scores than all of these. Scores are distinct float32 numbers of at most 7 decimals, unless the relevance is equal.
    """
    scored = 0 if relevance is None else len(relevance)
    order: list[int] = [] if relevance is None else np.argsort(-relevance, kind="stable").tolist()
    order += range(scored, hits)
    page = order[window.start : window.start + window.size]
    others = order[: window.start] + order[window.start + window.size :]
    out = [0.0] * hits
    last, last_relevance = 1.0 + _STEP, np.inf
    for place, hit in enumerate(page):
        if relevance is not None and hit < scored:
            equal = place and relevance[hit] == last_relevance
            score = last if equal else min(round(float(relevance[hit]), DECIMALS), last - _STEP)
            last_relevance = relevance[hit]
        else:
            score = min(last, 0.0) - 0.001
        out[hit] = last = round(score, DECIMALS)
    for hit in others:
        last = min(last, 0.0) - 0.001
        out[hit] = last = round(last, DECIMALS)
    return out


def product_of(document: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    """Return a document as the student's product. ``fields`` maps the template's fields to paths through objects and lists.

    A document may hold several parts of a path in one name ("a.b"), as OpenSearch allows. Missing fields are left out.
    """
    found = {name: _at(document, path.split(".")) for name, path in fields.items()}
    return {name: value for name, value in found.items() if value is not None}


def _at(node: Any, steps: Sequence[str]) -> Any:
    if isinstance(node, list):
        values = [value for one in node if (value := _at(one, steps)) is not None]
        return values or None
    if not steps:
        return node
    if isinstance(node, Mapping):
        for i in range(1, len(steps) + 1):
            name = ".".join(steps[:i])
            if name in node and (value := _at(node[name], steps[i:])) is not None:
                return value
    return None
