"""Agreement with the labels of unjudged queries that are left out of training. It separates settings that few judged queries cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from zlib import crc32

import numpy as np

from reranker.products import Product
from reranker.text import ProductTemplate
from reranker_distill.augmentation import is_variant
from reranker_distill.pairs import LabelledPair, by_query
from reranker_distill.splits import HeldOutGuard

ONE_IN = 10
FEWEST_PRODUCTS = 3  # the order of two products says little


class Divided(NamedTuple):
    """A run's labelled pairs: those that trials train on, and those of the unjudged queries left out."""

    learnt: list[LabelledPair]
    left_out: list[LabelledPair]


def leave_out(labelled: Sequence[LabelledPair]) -> Divided:
    """Leave out one in ``ONE_IN`` of the unjudged queries, with all their pairs. The choice does not depend on the other queries.

    Misspelt and otherwise varied queries are never left out; those that may be variations of a left-out query are in neither part.
    """
    learnt: list[LabelledPair] = []
    left_out: list[LabelledPair] = []
    varied: list[LabelledPair] = []
    for pair in labelled:
        if is_variant(pair.source):
            varied.append(pair)
        elif not pair.source.startswith("judged") and crc32(pair.query.encode()) % ONE_IN == 0:
            left_out.append(pair)
        else:
            learnt.append(pair)
    guard = HeldOutGuard({pair.query for pair in left_out})
    learnt += [pair for query, pairs in by_query(varied).items() if not guard.refuses(query) for pair in pairs]
    return Divided(learnt, left_out)


def agreement(
    scores: Callable[[Sequence[tuple[str, str]]], np.ndarray],
    left_out: Sequence[LabelledPair],
    products: Mapping[str, Product],
    template: ProductTemplate,
) -> float | None:
    """Return the mean over queries of the rank correlation between a student's scores and the labels; None without queries.

    Args:
        scores: of (query, product text) pairs, (n,).
    """
    from scipy.stats import spearmanr

    found = []
    for pairs in by_query(left_out).values():
        labels = [pair.relevance for pair in pairs]
        if len(pairs) >= FEWEST_PRODUCTS and min(labels) < max(labels):
            own = scores([(pair.query, template.render(products[pair.product_id])) for pair in pairs])
            found.append(float(np.nan_to_num(spearmanr(own, labels).statistic)))
    return float(np.mean(found)) if found else None
