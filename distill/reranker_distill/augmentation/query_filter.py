"""Keeps the queries worth labelling: those that the catalogue can answer, each once, none of a held-out intent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reranker.analysis import tokens
from reranker.embedded import field_text
from reranker.errors import InputError
from reranker.first_stage import FIELD_BOOSTS, FirstStage, check_query
from reranker.products import Product
from reranker_distill.augmentation.english import UNITS
from reranker_distill.splits import HeldOutGuard

MIN_HITS = 4  # a query that finds fewer products teaches no ranking
_HITS_CHECKED = 10


class QueryFilter:
    """Accepts queries one by one; ``existing`` are queries that need no second wording.

    A query is answerable if some product among its first hits holds all of its words, measures such as "16gb" aside,
    which shops write in many ways. Filler such as "synthesize collaborative vortals" is not.
    """

    def __init__(self, first_stage: FirstStage, guard: HeldOutGuard, existing: Iterable[str]) -> None:
        self._first_stage = first_stage
        self.guard = guard
        self._accepted = {frozenset(tokens(query)) for query in existing}
        self._words: dict[str, frozenset[str]] = {}

    def accepts(self, query: str) -> bool:
        """Whether the query is worth labelling; an accepted one is remembered."""
        words = frozenset(tokens(query))
        if not words or words in self._accepted or self.guard.refuses(query):
            return False
        try:
            hits = self._first_stage.search(check_query(query), _HITS_CHECKED)
        except InputError:
            return False
        required = frozenset(w for w in words if w not in UNITS and not (w[0].isdigit() and w.lstrip("0123456789.,") in UNITS)) or words
        if len(hits) < MIN_HITS or not any(required <= self._words_of(hit.product) for hit in hits):
            return False
        self._accepted.add(words)
        return True

    def filter(self, candidates: Iterable[tuple[str, str]], limit: int) -> Iterator[tuple[str, str]]:
        """Yield at most ``limit`` of the (query, source) candidates, in their order."""
        if limit < 1:
            return
        for query, source in candidates:
            if self.accepts(query):
                yield query, source
                limit -= 1
                if not limit:
                    return

    def _words_of(self, product: Product) -> frozenset[str]:
        product_id = str(product["id"])
        if product_id not in self._words:
            self._words[product_id] = frozenset(tokens(" ".join(field_text(product, field) for field in FIELD_BOOSTS)))
        return self._words[product_id]
