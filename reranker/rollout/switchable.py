"""A reranker whose bundle can be replaced while requests use it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from reranker.cache import CacheState
from reranker.products import Product
from reranker.reranker import Reranker
from reranker.scorer import Scorer
from reranker.text import ProductTemplate


class Sample(NamedTuple):
    """A scoring: scores are float32 (n,), in the order of the products; ``model`` is the name and version that scored."""

    query: str
    products: Sequence[Product | str]
    scores: np.ndarray
    model: str


class PinnedReranker(Scorer):
    """The bundle that serves one request from start to end, even if another is rolled out meanwhile."""

    def __init__(self, reranker: Reranker, note: Callable[[Sample], None]) -> None:
        self._reranker = reranker
        self._note = note

    @property
    def model(self) -> str:
        return self._reranker.model

    @property
    def caches_scores(self) -> bool:
        return self._reranker.caches_scores

    @property
    def vectors_computed(self) -> int:
        return self._reranker.vectors_computed

    def has_scores(self, query: str, products: Sequence[Product | str]) -> bool:
        """As ``Reranker.has_scores``."""
        return self._reranker.has_scores(query, products)

    def score(self, query: str, products: Sequence[Product | str]) -> np.ndarray:
        """As ``Reranker.score``."""
        return self._noted(query, products, self._reranker.score(query, products))

    def raw_scores(self, query: str, products: Sequence[Product | str]) -> np.ndarray:
        """As ``Reranker.raw_scores``."""
        return self._noted(query, products, self._reranker.raw_scores(query, products))

    def caches(self) -> dict[str, CacheState]:
        """As ``Reranker.caches``."""
        return self._reranker.caches()

    def _noted(self, query: str, products: Sequence[Product | str], scores: np.ndarray) -> np.ndarray:
        self._note(Sample(query, products, scores, self.model))
        return scores


class SwitchableReranker(Scorer):
    """A ``Reranker`` whose bundle can be switched. Each call uses the bundle that serves now; ``pin`` keeps one for several calls.

    Args:
        reranker: serves first.
        note: called with each scoring, in the thread that scored; must not raise.
    """

    def __init__(self, reranker: Reranker, note: Callable[[Sample], None] = lambda _: None) -> None:
        self._note = note
        self._reranker = reranker

    def switch(self, reranker: Reranker) -> None:
        """Serve another reranker from now on. Calls in progress finish with the one they started with."""
        self._reranker = reranker

    def pin(self) -> PinnedReranker:
        """Return the bundle that serves now, for one request."""
        return PinnedReranker(self._reranker, self._note)

    @property
    def model(self) -> str:
        return self._reranker.model

    @property
    def template(self) -> ProductTemplate:
        return self._reranker.template

    @property
    def caches_scores(self) -> bool:
        return self._reranker.caches_scores

    @property
    def vectors_computed(self) -> int:
        return self._reranker.vectors_computed

    def has_scores(self, query: str, products: Sequence[Product | str]) -> bool:
        """As ``Reranker.has_scores``."""
        return self._reranker.has_scores(query, products)

    @property
    def keeps_vectors(self) -> bool:
        return self._reranker.keeps_vectors

    @property
    def vectors_stored(self) -> int:
        return self._reranker.vectors_stored

    def score(self, query: str, products: Sequence[Product | str]) -> np.ndarray:
        """As ``Reranker.score``."""
        return self.pin().score(query, products)

    def raw_scores(self, query: str, products: Sequence[Product | str]) -> np.ndarray:
        """As ``Reranker.raw_scores``."""
        return self.pin().raw_scores(query, products)
