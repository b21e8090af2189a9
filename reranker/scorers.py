"""How a student's networks become a score: over pairs (cross-encoder), between vectors (bi-encoder), or both added (duet)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from reranker.cache import Cache, CacheState, digest, text_digest
from reranker.micro_batches import MicroBatches
from reranker.onnx_model import OnnxModel, cores
from reranker.stored_vectors import StoredVectors

CROSS_ENCODER, BI_ENCODER, DUET = "cross_encoder", "bi_encoder", "duet"

VECTORS_KEPT = 100_000
"""Product vectors kept in memory by default: 384 wide, they take about 90 MB."""


class CrossEncoder:
    """Reads query and product together.

    Args:
        kept: the scores of how many lists of pairs are kept. They are kept a list, not a pair: an int8 network rounds a
            batch by its largest value, so that a pair among others would not get the very score it had before.
    """

    def __init__(self, network: OnnxModel, *, kept: int = 0) -> None:
        self._network = network
        self._lists = Cache(kept)

    def logits(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return the network's score of (query, product text) pairs: float32 (n,)."""
        return self._lists.get(_key(pairs), lambda: self._logits(pairs)).copy()

    def knows(self, pairs: Sequence[tuple[str, str]]) -> bool:
        """Say whether the scores of this list are kept."""
        return _key(pairs) in self._lists

    def caches(self) -> dict[str, CacheState]:
        return {"pair_scores": self._lists.state()}

    def forget_queries(self) -> None:
        """Drop the scores kept."""
        self._lists.forget()

    def _logits(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        out = np.empty(len(pairs), dtype=np.float32)
        for batch, scores, _ in self._network.run(pairs):
            out[batch] = scores.reshape(len(batch), -1)[:, 0]
        return out


def _key(pairs: Sequence[tuple[str, str]]) -> bytes:
    return digest([text for pair in pairs for text in pair])


class BiEncoder:
    """Reads query and product apart, and multiplies their vectors; a product's vector is kept by its text, so it is computed once.

    Args:
        scale: what the cosine is multiplied by.
        kept: how many products' vectors are kept.
        queries_kept: how many queries' vectors are kept.
        query_network: reads queries into the products' space, where the bundle has a smaller network for them.
    """

    def __init__(self, network: OnnxModel, scale: float, *, kept: int = VECTORS_KEPT, queries_kept: int = 0, query_network: OnnxModel | None = None) -> None:
        self._network = network
        self._scale = scale
        self._query_network = query_network or network
        self._queries_asked = MicroBatches(
            lambda texts: _vectors(self._query_network, texts, alone=False), shares=self.reads_queries_together, at_once=max(1, cores() // 2)
        )
        self._products = Cache(kept)
        self._queries = Cache(queries_kept)
        self.stored = StoredVectors([])
        """Vectors computed at indexing time, looked up first."""

    def logits(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return scale · cosine of (query, product text) pairs: float32 (n,)."""
        queries = list(dict.fromkeys(query for query, _ in pairs))
        of_query = {query: self._queries.get(digest([query]), lambda query=query: self._queries_asked.row(query)) for query in queries}  # type: ignore[misc]
        products = self.vectors([text for _, text in pairs])
        of_pairs = list(of_query.values()) if len(queries) == 1 else [of_query[query] for query, _ in pairs]  # one stands for all
        asked = np.stack(of_pairs) if pairs else products
        cosines: np.ndarray = np.einsum("ij,ij->i", asked, products, dtype=np.float32)
        return cosines * np.float32(self._scale)

    def reads_queries_together(self) -> bool:
        """Say whether queries that several threads ask about at once are read in one run: where that changes no vector. Found out the first time."""
        return self._query_network.keeps_apart

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Return the vectors of product texts, float32 (n, width) of about unit length; those not known are computed and kept."""
        keys = [text_digest(text) for text in texts]
        stored, rows = self.stored.find(keys)
        if stored.all():
            return rows
        others = {key: text for key, text, there in zip(keys, texts, stored, strict=True) if not there}
        found = self._kept_or_made(others)
        made = np.stack([found[key] for key in keys if key in others]).astype(np.float32)
        if not stored.any():
            return made
        out = np.empty((len(keys), made.shape[1]), dtype=np.float32)
        out[stored], out[~stored] = rows, made
        return out

    def _kept_or_made(self, texts: Mapping[bytes, str]) -> dict[bytes, np.ndarray]:
        found = self._products.known(texts)
        missing = {key: text for key, text in texts.items() if key not in found}
        if missing:
            made = self.encode(list(missing.values()))
            fresh = dict(zip(missing, (vector.copy() for vector in made), strict=True))  # a row of the matrix would keep all of it in memory
            found |= fresh
            self._products.keep(fresh)
        return found

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return vectors of texts as they are kept: float16 (n, width), also the first time, so that a product's score never changes."""
        return _vectors(self._network, texts, alone=True).astype(np.float16)

    def knows(self, pairs: Sequence[tuple[str, str]]) -> bool:
        """No scores are kept: with the vectors, they are soon made."""
        return False

    def caches(self) -> dict[str, CacheState]:
        return {"query_vectors": self._queries.state(), "product_vectors": self._products.state()}

    def forget_queries(self) -> None:
        """Drop the queries' vectors; those of products stay."""
        self._queries.forget()

    def forget(self) -> None:
        """Drop all vectors kept in memory."""
        self._queries.forget()
        self._products.forget()


def _vectors(network: OnnxModel, texts: Sequence[str], *, alone: bool) -> np.ndarray:
    """Return mean-pooled unit vectors, float32 (n, width). They are kept: ``alone`` where they would depend on what is read beside them."""
    rows: list[np.ndarray] = [np.zeros(0)] * len(texts)
    for batch, hidden, mask in network.run(texts, alone=alone):
        for i, vector in zip(batch, unit_means(hidden, mask), strict=True):
            rows[i] = vector
    return np.stack(rows).astype(np.float32) if rows else np.zeros((0, 0), dtype=np.float32)


def unit_means(hidden: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the unit vectors of mean-pooled hidden states, (n, tokens, width), without what the mask, (n, tokens), leaves out: (n, width)."""
    weights = mask[:, :, None].astype(np.float32)
    pooled: np.ndarray = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
    return pooled / np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-9)


class DuetScorer:
    """Adds both scores: what is read together errs elsewhere than what is read apart.

    Source of the idea: Mitra et al., "Learning to match using local and distributed representations of text", WWW 2017.
    """

    def __init__(self, pairs: CrossEncoder, vectors: BiEncoder) -> None:
        self._pairs = pairs
        self.vector_scorer = vectors

    def logits(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return the sum of both scores of (query, product text) pairs: float32 (n,)."""
        total: np.ndarray = self._pairs.logits(pairs) + self.vector_scorer.logits(pairs)
        return total

    def knows(self, pairs: Sequence[tuple[str, str]]) -> bool:
        """Say whether the pairs' scores are kept."""
        return self._pairs.knows(pairs)

    def caches(self) -> dict[str, CacheState]:
        return self._pairs.caches() | self.vector_scorer.caches()

    def forget_queries(self) -> None:
        """Drop what is kept of queries; products' vectors stay."""
        self._pairs.forget_queries()
        self.vector_scorer.forget_queries()
