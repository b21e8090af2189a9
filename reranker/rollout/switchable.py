"""A reranker whose bundle can be exchanged while others use it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from reranker.bundle import Bundle
from reranker.cache import CacheState
from reranker.products import Product
from reranker.reranker import Ranked, Reranker
from reranker.text import ProductTemplate


class Sample(NamedTuple):
    """What was scored, how (float32 (n,), input order), and the model that did."""

    query: str
    products: Sequence[Product | str]
    scores: np.ndarray
    model: str


class Pinned:
    """One bundle for the length of one request: what it names is what scores, whatever is switched meanwhile."""

    def __init__(self, reranker: Reranker, note: Callable[[Sample], None]) -> None:
        self._reranker = reranker
        self._note = note
        self.bundle: Bundle = reranker.bundle
        self.template: ProductTemplate = reranker.template
        self.model = reranker.model
        self.keeps_scores = reranker.keeps_scores

    def pin(self) -> Pinned:
        return self

    def score(self, query: str, products: Sequence[Product | str]) -> np.ndarray:
        """As ``Reranker.score``."""
        return self._noted(query, products, self._reranker.score(query, products))

    def raw_scores(self, query: str, products: Sequence[Product | str]) -> np.ndarray:
        """As ``Reranker.raw_scores``."""
        return self._noted(query, products, self._reranker.raw_scores(query, products))

    def logits(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """As ``Reranker.logits``."""
        return self._reranker.logits(pairs)

    def knows(self, query: str, products: Sequence[Product | str]) -> bool:
        """As ``Reranker.knows``."""
        return self._reranker.knows(query, products)

    @property
    def vectors_made(self) -> int:
        """As ``Reranker.vectors_made``."""
        return self._reranker.vectors_made

    def caches(self) -> dict[str, CacheState]:
        """As ``Reranker.caches``."""
        return self._reranker.caches()

    def _noted(self, query: str, products: Sequence[Product | str], scores: np.ndarray) -> np.ndarray:
        self._note(Sample(query, products, scores, self.model))
        return scores


class SwitchableReranker:
    """Stands where a ``Reranker`` stands. Each call is answered by the bundle of the moment; ``pin`` keeps to one for several calls.

    Args:
        reranker: serves first.
        note: told each scoring, in the thread that scored; must not raise.
    """

    def __init__(self, reranker: Reranker, note: Callable[[Sample], None] = lambda _: None) -> None:
        self._note = note
        self._reranker = reranker

    def switch(self, reranker: Reranker) -> None:
        """Let another reranker serve from now on; calls in progress finish on the one they began with."""
        self._reranker = reranker

    def pin(self) -> Pinned:
        """Return the bundle of the moment."""
        return Pinned(self._reranker, self._note)

    @property
    def bundle(self) -> Bundle:
        return self._reranker.bundle

    @property
    def model(self) -> str:
        return self._reranker.model

    @property
    def template(self) -> ProductTemplate:
        return self._reranker.template

    @property
    def architecture(self) -> str:
        return self._reranker.architecture

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

    def logits(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """As ``Reranker.logits``."""
        return self._reranker.logits(pairs)

    def remember(self, products: Sequence[Product | str]) -> int:
        """As ``Reranker.remember``, for the bundle of the moment."""
        return self._reranker.remember(products)

    def forget(self) -> None:
        """As ``Reranker.forget``, for the bundle of the moment."""
        self._reranker.forget()

    def rerank(self, query: str, products: Sequence[Product | str], top_n: int | None = None) -> list[Ranked]:
        """As ``Reranker.rerank``."""
        return self._reranker.rerank(query, products, top_n)
