"""The protocols of what scores: a student behind a search or a service, and the model inside a ``Reranker``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from reranker.cache import CacheState
from reranker.products import Product


class Scorer(Protocol):
    """Scores products for a query. ``Reranker`` and ``Rollout`` are subclasses; another one needs ``score`` and ``model``."""

    @property
    def model(self) -> str:
        """Name and version, ``name@version``."""
        ...

    def score(self, query: str, products: Sequence[Product | str]) -> np.ndarray:
        """Return the relevance of each product: float32 (n,), 0 to 1, input order."""
        ...

    def pin(self) -> Scorer:
        """Return the scorer for one request: its model stays the same while another bundle is rolled out."""
        return self

    @property
    def vectors_computed(self) -> int:
        """How many product vectors were computed so far; 0 for a cross-encoder."""
        return 0


class Encoder(Protocol):
    """A student's model: scores (query, product text) pairs. ``CrossEncoder`` and ``BiEncoder`` implement it."""

    def logits(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return the score of each pair before calibration: float32 (n,)."""
        ...

    def cache_states(self) -> dict[str, CacheState]:
        """Return the state of each cache by its name."""
        ...

    def limit_caches(self, max_bytes: int) -> None:
        """Change the limit of all caches together, in bytes. What no longer fits is evicted."""
        ...

    def clear_query_cache(self) -> None:
        """Drop what is cached per query."""
        ...
