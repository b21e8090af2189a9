"""Judged-only nDCG@10 with exponential gain."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

CUTOFF = 10


def ndcg_at_10(ratings: Mapping[str, Mapping[str, int]], scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return nDCG@10 of each query in both mappings: gain 2^grade − 1, discount log2(rank + 1), judged products only; 0 without a relevant product.

    Products with equal scores are ordered by the hash of their id: the same in every run and on every machine,
    and unrelated to the order of the judgments, which often lists the best products first.

    Source: Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", 2002, with the gain of Burges et al.,
    "Learning to rank using gradient descent", 2005.

    Args:
        ratings: query → product id → grade.
        scores: query → product id → score, higher is better.
    """
    return {query: _ndcg(graded, scores[query]) for query, graded in ratings.items() if query in scores}


def _ndcg(graded: Mapping[str, int], scores: Mapping[str, float]) -> float:
    ranked = sorted(graded.keys() & scores.keys(), key=lambda product_id: (-scores[product_id], hashlib.sha256(product_id.encode()).digest()))
    ideal = _dcg(sorted(graded.values(), reverse=True))
    return _dcg([graded[product_id] for product_id in ranked]) / ideal if ideal else 0.0


def _dcg(grades: Sequence[int]) -> float:
    gains = 2.0 ** np.array(grades[:CUTOFF]) - 1
    return float((gains / np.log2(np.arange(2, len(gains) + 2))).sum())
