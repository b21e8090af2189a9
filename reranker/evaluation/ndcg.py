"""Judged-only nDCG@10 with exponential gain."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import ir_measures
from ir_measures import nDCG

GAINS = {grade: 2**grade - 1 for grade in range(4)}
MEASURE = nDCG(cutoff=10, gains=GAINS, judged_only=True)


def ndcg_at_10(ratings: Mapping[str, Mapping[str, int]], scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return nDCG@10 of each query: gain 2^grade − 1, discount log2(rank + 1), judged products only.

    Products with equal scores are ordered by the hash of their id: the same in every run and on every machine,
    and unrelated to the order of the judgments, which often lists the best products first.

    Args:
        ratings: query → product id → grade 0 to 3.
        scores: query → product id → score, higher is better.
    """
    run = {query: _as_ranks(by_product) for query, by_product in scores.items()}
    qrels = {query: dict(by_product) for query, by_product in ratings.items()}
    return {metric.query_id: float(metric.value) for metric in ir_measures.iter_calc([MEASURE], qrels, run)}


def _as_ranks(scores: Mapping[str, float]) -> dict[str, float]:
    """Replace scores by distinct ones in the same order: ir-measures breaks ties by product id otherwise."""
    ranked = sorted(scores, key=lambda product_id: (-scores[product_id], hashlib.sha256(product_id.encode()).digest()))
    return {product_id: float(len(ranked) - place) for place, product_id in enumerate(ranked)}
