"""BM25 alone: the first stage without a reranker."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.speed.systems.system import System
from reranker.evaluation.report import bm25_ranker
from reranker.first_stage import FirstStage
from reranker.products import Product


class Bm25(System):
    """Timed on finding as many hits as the other systems score, products included."""

    name = "bm25"
    label = "BM25 query alone"
    note = "latency of the first stage, which every other system needs too"

    def __init__(self, first_stage: FirstStage) -> None:
        self._first_stage = first_stage
        self._rank = bm25_ranker(first_stage)

    def score(self, query: str, products: Sequence[Product]) -> np.ndarray:
        return np.array([hit.score for hit in self._first_stage.search(query, len(products))])

    def quality(self, query: str, products: Sequence[Product]) -> np.ndarray:
        return np.asarray(self._rank(query, list(products)))
