"""The bi-encoder: query and product are encoded separately, and the score is the scaled cosine of their vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from reranker.cache import DEFAULT_CACHE_BYTES, Cache, CacheState, digest, text_digest
from reranker.onnx_model import OnnxModel
from reranker.stored_vectors import StoredVectors

_SHARE_OF_PRODUCTS = 3 / 4
"""Share of the caches' bytes for product vectors; the others are for query vectors."""


class BiEncoder:
    """Scores (query, product text) pairs with vectors; an ``Encoder``. Product vectors are cached by product text.

    Args:
        model: encodes products, and queries unless ``query_model`` is given.
        scale: factor of the cosine.
        cached_queries: number of query vectors that are cached.
        cache_bytes: limit of both caches in bytes: three quarters for product vectors, which are 1,168 bytes at 384 dimensions.
        query_model: a smaller model that encodes queries into the products' space.
    """

    def __init__(
        self, model: OnnxModel, scale: float, *, cached_queries: int = 0, cache_bytes: int = DEFAULT_CACHE_BYTES, query_model: OnnxModel | None = None
    ) -> None:
        self._model = model
        self._scale = scale
        self._query_model = query_model or model
        self._products = Cache(0)
        self._queries = Cache(0, max_entries=cached_queries)
        self.limit_caches(cache_bytes)
        self.stored = StoredVectors([])
        """Vectors computed at indexing time. They are looked up first."""

    def logits(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return scale · cosine of (query, product text) pairs: float32 (n,)."""
        if not pairs:
            return np.zeros(0, dtype=np.float32)
        queries = {query: self._query_vector(query) for query in dict.fromkeys(query for query, _ in pairs)}
        products = self.product_vectors([text for _, text in pairs])
        rows = list(queries.values()) if len(queries) == 1 else [queries[query] for query, _ in pairs]  # a single row is broadcast
        cosines: np.ndarray = np.einsum("ij,ij->i", np.stack(rows), products, dtype=np.float32)
        return cosines * np.float32(self._scale)

    def _query_vector(self, query: str) -> np.ndarray:
        return self._queries.get(digest([query]), lambda: _encode(self._query_model, [query])[0])

    def product_vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Return the vectors of product texts: float32 (n, width), about unit length. Missing ones are computed and cached."""
        keys = [text_digest(text) for text in texts]
        stored, rows = self.stored.find(keys)
        if stored.all():
            return rows
        missing = {key: text for key, text, found in zip(keys, texts, stored, strict=True) if not found}
        vectors = self._cached_or_computed(missing)
        others = np.stack([vectors[key] for key in keys if key in missing]).astype(np.float32)
        if not stored.any():
            return others
        out = np.empty((len(keys), others.shape[1]), dtype=np.float32)
        out[stored], out[~stored] = rows, others
        return out

    def _cached_or_computed(self, texts: Mapping[bytes, str]) -> dict[bytes, np.ndarray]:
        vectors = self._products.find(texts)
        missing = {key: text for key, text in texts.items() if key not in vectors}
        if missing:
            computed = self.encode(list(missing.values()))
            new = dict(zip(missing, (vector.copy() for vector in computed), strict=True))  # a view would keep the whole matrix in memory
            vectors |= new
            self._products.add(new)
        return vectors

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return vectors of texts in the stored precision, float16 (n, width), so that a product's score never changes."""
        return _encode(self._model, texts).astype(np.float16)

    def cache_states(self) -> dict[str, CacheState]:
        return {"query_vectors": self._queries.state(), "product_vectors": self._products.state()}

    def limit_caches(self, max_bytes: int) -> None:
        """Change the limit of both caches together, in bytes."""
        products = int(max_bytes * _SHARE_OF_PRODUCTS)
        self._products.limit(products)
        self._queries.limit(max_bytes - products)

    def clear_query_cache(self) -> None:
        """Drop the cached query vectors; product vectors stay."""
        self._queries.clear()

    def clear_product_cache(self) -> None:
        """Drop the cached product vectors; stored ones stay."""
        self._products.clear()


def _encode(model: OnnxModel, texts: Sequence[str]) -> np.ndarray:
    """Return mean-pooled unit vectors, float32 (n, width). Each text is a run of its own, since a vector may not depend on the batch."""
    rows: list[np.ndarray] = [np.zeros(0)] * len(texts)
    for batch, hidden, mask in model.run(texts, alone=True):
        for i, vector in zip(batch, unit_means(hidden, mask), strict=True):
            rows[i] = vector
    return np.stack(rows).astype(np.float32) if rows else np.zeros((0, 0), dtype=np.float32)


def unit_means(hidden: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return mean-pooled hidden states at unit length: (n, width).

    Args:
        hidden: hidden states, (n, tokens, width).
        mask: 1 for tokens that count, 0 for padding: (n, tokens).
    """
    weights = mask[:, :, None].astype(np.float32)
    pooled: np.ndarray = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
    unit: np.ndarray = pooled / np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-9)
    return unit
