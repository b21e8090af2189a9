"""Many queries without products, worded as shoppers do, to train query encoders."""

from __future__ import annotations

import random
from collections.abc import Iterable

from reranker.products import Product
from reranker_distill.augmentation.catalogue_queries import catalogue_queries
from reranker_distill.augmentation.titles import pieces
from reranker_distill.splits import HeldOutGuard

_PER_TITLE = 2
_MAX_WORDS = 4


def query_texts(products: Iterable[Product], query_log: Iterable[tuple[str, int]], guard: HeldOutGuard, *, seed: int) -> list[str]:
    """Return queries of the log, made from the catalogue, and cut out of titles, each once and shuffled; none that rewords a held-out intent."""
    products = list(products)
    rng = random.Random(seed)
    found = dict.fromkeys(query.lower() for query, _ in query_log)
    found |= dict.fromkeys(query for query, _ in catalogue_queries(products, seed=seed))
    for product in products:
        words = [piece.lower() for piece in pieces(str(product["title"])) if any(c.isalnum() for c in piece)]
        for _ in range(_PER_TITLE):
            length = rng.randint(1, _MAX_WORDS)
            start = rng.randrange(max(1, len(words) - length + 1))
            found[" ".join(words[start : start + length])] = None
    kept = [query for query in found if query.strip() and not guard.refuses(query)]
    rng.shuffle(kept)
    return kept
