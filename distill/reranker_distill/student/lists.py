"""The lists that the student learns from: products of one query, each with its label."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from reranker.products import Product
from reranker.text import ProductTemplate
from reranker_distill.losses import MARGIN_SCALE
from reranker_distill.pairs import LabelledPair, by_query
from reranker_distill.recipe import LossName

PRODUCTS_PER_LIST = 12


def target(relevance: float, loss: LossName) -> float:
    """Return what a loss takes for a relevance of 0–1: bce takes the relevance, the others relevance · ``MARGIN_SCALE``."""
    return relevance if loss == "bce" else relevance * MARGIN_SCALE


def product_lists(
    labelled: Sequence[LabelledPair],
    products: Mapping[str, Product],
    template: ProductTemplate,
    loss: LossName,
    seed: int,
    *,
    products_per_list: int = PRODUCTS_PER_LIST,
) -> list[dict[str, Any]]:
    """Group the labelled pairs by query into shuffled lists (``query``, ``docs``, ``labels``), every product in one list of its query.

    Products are dealt to a query's lists in the order of their relevance, so that each list has relevant and irrelevant ones.
    """
    rng = random.Random(seed)
    rows = []
    for query, pairs in by_query(labelled).items():
        rng.shuffle(pairs)
        pairs.sort(key=lambda pair: -pair.relevance)
        lists = -(-len(pairs) // products_per_list)
        for members in (pairs[i::lists] for i in range(lists)):
            if len(members) > 1:
                docs = [template.render(products[pair.product_id]) for pair in members]
                rows.append({"query": query, "docs": docs, "labels": [target(pair.relevance, loss) for pair in members]})
    rng.shuffle(rows)
    return rows
