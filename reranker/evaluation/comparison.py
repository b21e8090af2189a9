"""Several rankings of the same judged products, compared query by query with judged-only nDCG@10."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from reranker.errors import JudgmentError, RerankerError
from reranker.evaluation.bootstrap import Interval, bootstrap
from reranker.judgments import Judgment
from reranker.products import Product

Ranker = Callable[[str, list[Product]], Any]
"""Takes a query and n products; returns n finite scores, (n,), higher is better."""

CUTOFF = 10
_TIE = 1e-9


class QueryScores(NamedTuple):
    """One query: number of its judged products, and nDCG@10 by ranking."""

    query: str
    intent: str
    judged: int
    ndcg: dict[str, float]


class Record(NamedTuple):
    """Number of queries on which one ranking is better than, worse than, or equal to another."""

    wins: int
    losses: int
    ties: int


@dataclass(frozen=True)
class Comparison:
    """nDCG@10 of every ranking on every query that can distinguish rankings.

    ``indistinct``: the other queries, without a product rated 2 or more or without one rated 0.
    """

    per_query: list[QueryScores]
    indistinct: list[str]

    @property
    def queries(self) -> int:
        """Number of queries compared."""
        return len(self.per_query)

    @property
    def intents(self) -> int:
        """Number of intents of those queries."""
        return len({intent.casefold() for intent in self._intents})

    @property
    def rankings(self) -> list[str]:
        return list(self.per_query[0].ndcg)

    def mean(self, name: str) -> float:
        """Return the mean nDCG@10 of a ranking."""
        return float(np.mean(self._values(name)))

    def interval(self, name: str) -> Interval:
        """Return the mean nDCG@10 of a ranking with its bootstrap interval over intents."""
        return bootstrap(self._values(name).tolist(), self._intents)

    def changes(self, name: str, base: str) -> np.ndarray:
        """Return nDCG@10 of one ranking minus that of another: (queries,), in the order of ``per_query``."""
        changes: np.ndarray = self._values(name) - self._values(base)
        return changes

    def difference(self, name: str, base: str) -> Interval:
        """Return the mean change from ``base`` to ``name`` with its paired bootstrap interval."""
        return bootstrap(self.changes(name, base).tolist(), self._intents)

    def record(self, name: str, base: str) -> Record:
        """Count the queries that ``name`` wins, loses and ties against ``base``."""
        changes = self.changes(name, base)
        wins, losses = int((changes > _TIE).sum()), int((changes < -_TIE).sum())
        return Record(wins, losses, len(changes) - wins - losses)

    @property
    def _intents(self) -> list[str]:
        return [row.intent for row in self.per_query]

    def _values(self, name: str) -> np.ndarray:
        return np.array([q.ndcg[name] for q in self.per_query])


def distinguishes_rankings(ratings: Sequence[int]) -> bool:
    """Return whether a query with these grades can distinguish rankings: it has a product rated 2 or more, and one rated 0."""
    return max(ratings, default=0) >= 2 and 0 in ratings


def evaluate_rankings(judgments: Sequence[Judgment], products: Mapping[str, Product], rankers: Mapping[str, Ranker]) -> Comparison:
    """Let every ranker order the judged products of every query, and measure judged-only nDCG@10.

    Args:
        judgments: of any number of queries; those of products missing from ``products`` are left out.
        products: product id → product.
        rankers: name → ranker. Each gets a query's products in the order of their ids, which is unrelated to their grades.

    Raises:
        JudgmentError: no query can distinguish rankings.
        RerankerError: a ranker did not return one finite score per product.
    """
    ratings: dict[str, dict[str, int]] = defaultdict(dict)
    intents: dict[str, str] = {}
    for judgment in judgments:
        if judgment.product_id in products:
            ratings[judgment.query][judgment.product_id] = judgment.rating
            intents[judgment.query] = judgment.intent
    chosen = {query: graded for query, graded in ratings.items() if distinguishes_rankings(list(graded.values()))}
    if not chosen:
        raise JudgmentError(
            f"None of the {len(ratings):,} judged queries can distinguish rankings.", hint="A query needs a product rated 2 or 3 and a product rated 0."
        )
    measured: dict[str, dict[str, float]] = {}
    for name, ranker in rankers.items():
        scores = {query: _scored(name, ranker, query, sorted(graded), products) for query, graded in chosen.items()}
        measured[name] = ndcg_at_10(chosen, scores)
    per_query = [QueryScores(query, intents[query], len(graded), {name: measured[name][query] for name in rankers}) for query, graded in chosen.items()]
    return Comparison(per_query, [query for query in ratings if query not in chosen])


def _scored(name: str, ranker: Ranker, query: str, product_ids: list[str], products: Mapping[str, Product]) -> dict[str, float]:
    scores = np.asarray(ranker(query, [products[i] for i in product_ids]), dtype=np.float64)
    if scores.shape != (len(product_ids),) or not np.isfinite(scores).all():
        raise RerankerError(f"The ranking '{name}' gave unusable scores for '{query}': expected one finite number per product.")
    return dict(zip(product_ids, scores.tolist(), strict=True))


def ndcg_at_10(ratings: Mapping[str, Mapping[str, int]], scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return nDCG@10 of each query in both mappings: gain 2^grade − 1, discount log2(rank + 1), judged products only; 0 without a relevant product.

    Products with equal scores are ordered by the hash of their id: the same in every run and on every machine,
    and unrelated to the order of the judgments, which often lists the best products first.

    Source: Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", 2002, with the gain of Burges et al.,
    "Learning to rank using gradient descent", 2005.

    Args:
        ratings: query → product id → grade.
        scores: query → product id → score, higher is better.
    """
    return {query: _ndcg(graded, scores[query]) for query, graded in ratings.items() if query in scores}


def _ndcg(graded: Mapping[str, int], scores: Mapping[str, float]) -> float:
    ranked = sorted(graded.keys() & scores.keys(), key=lambda product_id: (-scores[product_id], hashlib.sha256(product_id.encode()).digest()))
    ideal = _dcg(sorted(graded.values(), reverse=True))
    return _dcg([graded[product_id] for product_id in ranked]) / ideal if ideal else 0.0


def _dcg(grades: Sequence[int]) -> float:
    gains = 2.0 ** np.array(grades[:CUTOFF]) - 1
    return float((gains / np.log2(np.arange(2, len(gains) + 2))).sum())
