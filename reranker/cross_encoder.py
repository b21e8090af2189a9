"""The cross-encoder: one model reads query and product together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reranker.cache import DEFAULT_CACHE_BYTES, Cache, CacheState, digest
from reranker.onnx_model import OnnxModel


class CrossEncoder:
    """Scores (query, product text) pairs with an ONNX model; an ``Encoder``.

    Args:
        cached_lists: number of lists of pairs whose scores are cached. Scores are cached per list, not per pair: an int8 model
            quantises a batch by its largest value, so a pair's score depends on the other pairs in the list.
        cache_bytes: limit of the cache in bytes.
    """

    def __init__(self, model: OnnxModel, *, cached_lists: int = 0, cache_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        self._model = model
        self._lists = Cache(cache_bytes, max_entries=cached_lists)

    def logits(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return the model's score of (query, product text) pairs: float32 (n,)."""
        return self._lists.get(digest([text for pair in pairs for text in pair]), lambda: self._compute(pairs)).copy()

    def cache_states(self) -> dict[str, CacheState]:
        return {"pair_scores": self._lists.state()}

    def limit_caches(self, max_bytes: int) -> None:
        """Change the limit of the cache, in bytes."""
        self._lists.limit(max_bytes)

    def clear_query_cache(self) -> None:
        """Drop all cached scores."""
        self._lists.clear()

    def _compute(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        scores = np.empty(len(pairs), dtype=np.float32)
        for batch, output, _ in self._model.run(pairs):
            scores[batch] = output.reshape(len(batch), -1)[:, 0]
        return scores
