"""A bundle of this project, with product vectors cached or not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.speed.systems.system import System
from reranker.bundle import Bundle
from reranker.products import Product
from reranker.reranker import Reranker


class BundleSystem(System):
    """Scores with ``Reranker.score``.

    Args:
        bundle: a loaded bundle.
        name: a shipped bundle's name, or its folder's.
        threads: of one ONNX run.
        new: clear the vector cache before each query; only for a bi-encoder.
    """

    def __init__(self, bundle: Bundle, name: str, *, threads: int, new: bool = False) -> None:
        self._reranker = Reranker(bundle, threads=threads) if new else Reranker.load(bundle.path, threads=threads)
        self._new = new
        self.name = f"bundle:{name}:new" if new else f"bundle:{name}"
        known = ", products known" if self._reranker.keeps_vectors else ""
        self.label = f"bundle {name}{', products new' if new else known}"

    @property
    def keeps_vectors(self) -> bool:
        return self._reranker.keeps_vectors

    def prepare(self, products: Sequence[Product]) -> None:
        if not self._new:
            self._reranker.precompute(products)

    def before_query(self) -> None:
        if self._new:
            self._reranker.clear_caches()

    def score(self, query: str, products: Sequence[Product]) -> np.ndarray:
        return self._reranker.score(query, products)
