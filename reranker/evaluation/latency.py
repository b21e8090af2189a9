"""Latency of each stage of a search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from reranker.reranker import Reranker
from reranker.search import TwoStageSearch

WARM_UP_QUERIES = 5
MAX_QUERIES = 200


class Latency(NamedTuple):
    """Milliseconds of one stage over ``samples`` searches."""

    p50: float
    p95: float
    p99: float
    mean: float
    samples: int


def measure_latency(search: TwoStageSearch, queries: Sequence[str], k: int, *, new_products: bool = False) -> dict[str, Latency]:
    """Time one search per query (the first 200), one after the other, after an untimed warm-up.

    A bi-encoder is timed with the vectors of all hits known or, with ``new_products``, with none known.

    Returns ``first_stage``, ``rerank`` and ``total``. Searches without hits have no rerank time; a stage without a sample is left out.
    """
    queries = list(dict.fromkeys(queries))[:MAX_QUERIES]
    size = min(10, k)
    student = search.reranker if isinstance(search.reranker, Reranker) and search.reranker.keeps_vectors else None
    for query in queries if student and not new_products else queries[:WARM_UP_QUERIES]:
        search.search(query, size=size, k=k)
    took: dict[str, list[float]] = {"first_stage": [], "rerank": [], "total": []}
    for query in queries:
        if student and new_products:
            student.clear_caches()
        response = search.search(query, size=size, k=k)
        for stage, samples in took.items():
            if stage == "first_stage" or response.reranked:
                samples.append(response.took_ms[stage])
    return {stage: _summary(samples) for stage, samples in took.items() if samples}


def measure_stages(search: TwoStageSearch, queries: Sequence[str], k: int) -> dict[str, Latency]:
    """Time ``first_stage``, ``rerank`` with all product vectors known, ``rerank_unknown`` with none known (bi-encoders only), and ``total``."""
    student = search.reranker
    keeps_vectors = isinstance(student, Reranker) and student.keeps_vectors
    first_time = measure_latency(search, queries, k, new_products=True) if keeps_vectors else {}
    return measure_latency(search, queries, k) | ({"rerank_unknown": first_time["rerank"]} if "rerank" in first_time else {})


def _summary(milliseconds: Sequence[float]) -> Latency:
    p50, p95, p99 = np.percentile(milliseconds, [50, 95, 99])
    return Latency(float(p50), float(p95), float(p99), float(np.mean(milliseconds)), len(milliseconds))
