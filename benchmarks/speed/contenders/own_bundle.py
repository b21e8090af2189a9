"""A bundle of ours, with the products' vectors known, or with all of them new."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.speed.contenders.contender import Contender
from reranker.bundle import Bundle
from reranker.products import Product
from reranker.reranker import Reranker


class OwnBundle(Contender):
    """Scores with ``Reranker.score``.

    Args:
        bundle: a loaded bundle.
        called: what to call it: a shipped bundle's name, or its folder's.
        threads: of one ONNX run.
        new: forget all vectors before each query; only for a bundle that keeps them.
    """

    def __init__(self, bundle: Bundle, called: str, *, threads: int, new: bool = False) -> None:
        self._reranker = Reranker(bundle, threads=threads) if new else Reranker.load(bundle.path, threads=threads)
        self._new = new
        self.name = f"bundle:{called}:new" if new else f"bundle:{called}"
        known = ", products known" if self._reranker.keeps_vectors else ""
        self.label = f"bundle {called}{', products new' if new else known}"

    @property
    def keeps_vectors(self) -> bool:
        return self._reranker.keeps_vectors

    def prepare(self, products: Sequence[Product]) -> None:
        if not self._new:
            self._reranker.remember(products)

    def before_query(self) -> None:
        if self._new:
            self._reranker.forget()

    def score(self, query: str, products: Sequence[Product]) -> np.ndarray:
        return self._reranker.score(query, products)
