"""The lists that the student learns from: products of one query, each with its label."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reranker.products import Product
from reranker.text import ProductTemplate
from reranker_distill.losses import MARGIN_SCALE
from reranker_distill.pairs import LabelledPair
from reranker_distill.recipe import Student as StudentSettings


def label(relevance: float, settings: StudentSettings, grades: int = 4) -> float:
    """Return what the student's loss takes for a relevance of 0–1.

    bce: relevance. ranknet, lambda: the expected grade. The others: relevance · ``MARGIN_SCALE``, or with
    ``margin_of = "logit"`` its log-odds (−4 to 4).
    """
    if settings.loss == "bce":
        return relevance
    if settings.loss in ("ranknet", "lambda"):
        return relevance * (grades - 1)
    if settings.margin_of == "relevance":
        return relevance * MARGIN_SCALE
    return float(np.clip(np.log((relevance + 1e-6) / (1 - relevance + 1e-6)), -4, 4))


def product_lists(
    labelled: Sequence[LabelledPair],
    products: Mapping[str, Product],
    template: ProductTemplate,
    settings: StudentSettings,
    seed: int,
    *,
    relevance: Sequence[float] | np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """Group the labelled pairs by query into lists of at most ``products_per_list``, every product in one list of its query.

    A list is a mixture of relevant and irrelevant products where the query has both: products are dealt in the order
    of their relevance.

    Args:
        relevance: what is learnt instead of the teacher's relevance, by pair.
    """
    rng = random.Random(seed)
    learnt = [pair.relevance for pair in labelled] if relevance is None else relevance
    by_query: dict[str, list[tuple[LabelledPair, float]]] = defaultdict(list)
    for pair, wanted in zip(labelled, learnt, strict=True):
        by_query[pair.query].append((pair, float(wanted)))
    rows = []
    for query, pairs in by_query.items():
        rng.shuffle(pairs)
        pairs.sort(key=lambda p: -p[1])
        n = -(-len(pairs) // settings.products_per_list)
        for hand in (pairs[i::n] for i in range(n)):
            if len(hand) > 1:
                rows.append(
                    {
                        "query": query,
                        "docs": [template.render(products[p.product_id]) for p, _ in hand],
                        "labels": [label(wanted, settings, len(p.distribution) or 4) for p, wanted in hand],
                    }
                )
    rng.shuffle(rows)
    return rows
