"""Products for a query: the first stage's hits, near misses, products of similar meaning, and some at random."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Protocol

from reranker.analysis import tokens
from reranker.errors import InputError
from reranker.first_stage import FirstStage, check_query
from reranker_distill.recipe import CandidateMix

_NEAR_MISS_RANK = 20  # a near miss is among this many first hits of another search


class NearestProducts(Protocol):
    """Finds products by meaning; ``ProductVectors`` does."""

    def nearest(self, queries: Sequence[str], k: int) -> list[list[str]]:
        """Return the ids of the ``k`` nearest products of each query, nearest first."""
        ...


class Candidates:
    """Picks each query's products, as (product id, how it was found); each product once.

    How it was found: ``rank N`` (the first stage's hit), ``original's rank N`` (of the query that a misspelling stands for),
    ``hard word`` (found by only one of the query's words: the brand without the type, an accessory),
    ``hard query`` (a first hit of another chosen query that shares a word), ``similar N``, ``random``.
    """

    def __init__(
        self,
        first_stage: FirstStage,
        product_ids: Sequence[str],
        queries: Iterable[str],
        mix: CandidateMix,
        rng: random.Random,
        nearest: dict[str, list[str]] | None = None,
    ) -> None:
        self._first_stage = first_stage
        self._ids = product_ids
        self._mix = mix
        self._rng = rng
        self._nearest = nearest or {}
        self._found: dict[str, list[str]] = {}
        self._by_word: dict[str, list[str]] = defaultdict(list)
        for query in queries:
            for word in dict.fromkeys(tokens(query)):
                self._by_word[word].append(query)

    def of(self, query: str, original: str | None = None) -> dict[str, str]:
        """Return the query's products; ``original`` is the query that a variant stands for."""
        mix, rng = self._mix, self._rng
        hits = self._search(query, mix.max_rank)
        ranked = [(product_id, f"rank {rank}") for rank, product_id in enumerate(hits, start=1)]
        if original is not None:
            others = [(product_id, f"original's rank {rank}") for rank, product_id in enumerate(self._search(original, mix.max_rank), start=1)]
            ranked = _interleave(others, ranked)
        chosen = dict(ranked[: mix.top])
        deeper = ranked[mix.top :]
        chosen |= rng.sample(deeper, min(mix.deeper, len(deeper)))
        searched = original if original is not None else query
        for found, count in (
            (self._hard(searched, {product_id for product_id, _ in ranked}), mix.hard),
            ([(product_id, f"similar {n}") for n, product_id in enumerate(self._nearest.get(searched, ()), start=1)], mix.similar),
            ([(product_id, "random") for product_id in rng.sample(self._ids, min(2 * mix.random, len(self._ids)))], mix.random),
        ):
            new = [(product_id, how) for product_id, how in found if product_id not in chosen]
            chosen |= new[:count]
        return chosen

    def has_hits(self, query: str) -> bool:
        """Whether the first stage finds anything."""
        return bool(self._search(query, self._mix.max_rank))

    def _hard(self, query: str, hits: set[str]) -> list[tuple[str, str]]:
        """Return near misses in a random order, both kinds interleaved; the query's own hits are none."""
        words = list(dict.fromkeys(tokens(query)))
        by_word = [(i, "hard word") for word in words if len(words) > 1 for i in self._search(word, _NEAR_MISS_RANK) if i not in hits]
        similar = sorted({q for word in words for q in self._by_word[word][:50] if q != query})
        by_query = [(i, "hard query") for q in self._rng.sample(similar, min(3, len(similar))) for i in self._search(q, _NEAR_MISS_RANK)[:5] if i not in hits]
        self._rng.shuffle(by_word)
        self._rng.shuffle(by_query)
        return _interleave(by_word, by_query)

    def _search(self, query: str, k: int) -> list[str]:
        """Return the ids of the first hits; they are cached, as words and similar queries are searched again and again."""
        if query not in self._found:
            try:
                text = check_query(query)
            except InputError:
                text = ""
            deepest = max(self._mix.max_rank, _NEAR_MISS_RANK)
            self._found[query] = [hit.product_id for hit in self._first_stage.search(text, deepest)] if text else []
        return self._found[query][:k]


def _interleave(first: list[tuple[str, str]], second: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return both lists' entries alternately, each product once."""
    merged: dict[str, str] = {}
    for i in range(max(len(first), len(second))):
        for entries in (first, second):
            if i < len(entries):
                merged.setdefault(*entries[i])
    return list(merged.items())
