"""Which queries are worth their labels: those the catalogue can answer, each wording once, none of a held-out intent."""

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
_LOOKED_AT = 10


class QueryChooser:
    """Takes queries one by one; ``taken`` are words of queries that are there already.

    A query is answerable where some product among its first hits holds all of its words, measures such as "16gb" aside,
    which shops write in many ways. Filler such as "synthesize collaborative vortals" meets none.
    """

    def __init__(self, first_stage: FirstStage, guard: HeldOutGuard, taken: Iterable[str]) -> None:
        self._first_stage = first_stage
        self.guard = guard
        self._taken = {frozenset(tokens(query)) for query in taken}
        self._words: dict[str, frozenset[str]] = {}

    def takes(self, query: str) -> bool:
        words = frozenset(tokens(query))
        if not words or words in self._taken or self.guard.refuses(query):
            return False
        try:
            hits = self._first_stage.search(check_query(query), _LOOKED_AT)
        except InputError:
            return False
        asked = frozenset(w for w in words if w not in UNITS and not (w[0].isdigit() and w.lstrip("0123456789.,") in UNITS)) or words
        if len(hits) < MIN_HITS or not any(asked <= self._held_by(hit.product) for hit in hits):
            return False
        self._taken.add(words)
        return True

    def choose(self, candidates: Iterable[tuple[str, str]], wanted: int) -> Iterator[tuple[str, str]]:
        """Yield at most ``wanted`` of the (query, source) candidates, in their order."""
        if wanted < 1:
            return
        for query, source in candidates:
            if self.takes(query):
                yield query, source
                wanted -= 1
                if not wanted:
                    return

    def _held_by(self, product: Product) -> frozenset[str]:
        product_id = str(product["id"])
        if product_id not in self._words:
            self._words[product_id] = frozenset(tokens(" ".join(field_text(product, field) for field in FIELD_BOOSTS)))
        return self._words[product_id]
