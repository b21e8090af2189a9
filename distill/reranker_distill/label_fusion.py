"""The committee: the teacher, joined by an off-the-shelf embedder that knows the whole catalogue.

A teacher fine-tuned on few judgments knows what the raters mean, but errs where a whole intent is missing from them; an
embedder needs no judgments, but takes a laptop bag for a laptop. Their errors differ, so their mean has fewer of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from reranker.errors import RecipeError
from reranker.products import Product
from reranker_distill.pairs import LabelledPair, relevance_in
from reranker_distill.product_vectors import ProductVectors
from reranker_distill.recipe import Recipe

_LIKENESSES_AT_A_TIME = 20_000_000
"""Numbers in a block of products by the catalogue's: 80 MB."""
_QUERIES_AT_A_TIME = 256


class NeighbourhoodEmbedder:
    """Scores products by cosine to the query, half their own and half the mean of their neighbours'.

    A product's neighbours are the ``neighbours`` products of the catalogue, itself among them, that are nearest by
    embedding and by the names of their attributes: toner cartridges have a page yield, notebooks a keyboard layout. One
    misleading title ("notebook" on a bag) is outvoted by its kind.

    Source: F. Diaz, Regularizing ad hoc retrieval scores, CIKM 2005 (related documents should have related scores).
    """

    def __init__(self, vectors: ProductVectors, products: Mapping[str, Product], *, neighbours: int) -> None:
        self._vectors = vectors
        self._rows = {product_id: row for row, product_id in enumerate(vectors.ids)}
        self._names = _attribute_names([products[product_id] for product_id in vectors.ids])
        self._k = min(neighbours, len(vectors.ids))
        self._known: dict[int, np.ndarray] = {}

    def scores(self, pairs: Sequence[tuple[str, str]], on_pairs: Callable[[int], None] | None = None) -> np.ndarray:
        """Return the score of each (query, product id): float32 (n,), at most 1; ``on_pairs`` is told the number done."""
        self._find_neighbours({self._rows[product_id] for _, product_id in pairs})
        by_query = _rows_by_query(pairs)
        out = np.zeros(len(pairs), dtype=np.float32)
        queries = list(by_query)
        for start in range(0, len(queries), _QUERIES_AT_A_TIME):
            some = queries[start : start + _QUERIES_AT_A_TIME]
            cosines = self._vectors.encode(some) @ self._vectors.vectors.T
            for query, of_all in zip(some, cosines, strict=True):
                for i in by_query[query]:
                    row = self._rows[pairs[i][1]]
                    out[i] = (of_all[row] + of_all[self._known[row]].mean()) / 2
                if on_pairs:
                    on_pairs(len(by_query[query]))
        return out

    def _find_neighbours(self, rows: set[int]) -> None:
        missing = sorted(rows - self._known.keys())
        at_a_time = max(1, _LIKENESSES_AT_A_TIME // len(self._vectors.ids))
        for start in range(0, len(missing), at_a_time):
            some = missing[start : start + at_a_time]
            likeness = self._vectors.vectors[some] @ self._vectors.vectors.T
            if self._names is not None:
                likeness += 0.5 * (self._names[some] @ self._names.T).toarray()
            nearest = np.argpartition(-likeness, self._k - 1, axis=1)[:, : self._k].astype(np.int32)  # a copy: a view would keep the whole block
            self._known.update(zip(some, nearest, strict=True))


def _rows_by_query(pairs: Sequence[tuple[str, str]]) -> dict[str, list[int]]:
    by_query: dict[str, list[int]] = defaultdict(list)
    for i, (query, _) in enumerate(pairs):
        by_query[query].append(i)
    return by_query


def _attribute_names(products: Sequence[Product]) -> Any:
    """Return tf-idf vectors of the products' attribute names, sparse (n, names) of unit length; None where no two share one."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    told = (product.get("attributes") for product in products)
    names = [list(attributes) if isinstance(attributes, Mapping) else [] for attributes in told]
    try:
        return TfidfVectorizer(analyzer=lambda given: given, min_df=2, dtype=np.float32).fit_transform(names)
    except ValueError:  # nothing left: no attributes, or none that two products share
        return None


class Judge(Protocol):
    """Anything that scores pairs without judgments; ``NeighbourhoodEmbedder`` is one."""

    def scores(self, pairs: Sequence[tuple[str, str]], on_pairs: Callable[[int], None] | None = None) -> np.ndarray: ...


Likelihood = Callable[[Sequence[tuple[str, str]]], np.ndarray]
"""Gives the probability, above 0, of the query of each (query, product id) pair: (n,)."""


class WithLikelihood:
    """An embedder's scores, and beside them a language model's word on how likely the query is after the product.

    Likelihoods of queries of different lengths cannot be compared, those of one query can: they join as so many standard
    deviations over its products, ``weight`` of the embedder's for one of theirs.
    """

    def __init__(self, embedder: Judge, likelihood: Likelihood, *, weight: float) -> None:
        self._embedder = embedder
        self._likelihood = likelihood
        self._weight = weight

    def scores(self, pairs: Sequence[tuple[str, str]], on_pairs: Callable[[int], None] | None = None) -> np.ndarray:
        """Return the score of each (query, product id) pair: float32 (n,). It depends on which products of its query are among them."""
        out = self._embedder.scores(pairs, on_pairs).astype(np.float32)
        logs = np.log(np.maximum(self._likelihood(pairs), 1e-30))
        for rows in _rows_by_query(pairs).values():
            spread = logs[rows].std()
            if spread > 0:
                out[rows] += self._weight * out[rows].std() * (logs[rows] - logs[rows].mean()) / spread
        return out


def judge_of(recipe: Recipe, vectors: ProductVectors, products: Mapping[str, Product], likelihood: Likelihood | None) -> Judge:
    """Return who judges beside the teacher in a recipe: its embedder, joined by its language model's ``likelihood`` where it has one."""
    embedder = NeighbourhoodEmbedder(vectors, products, neighbours=recipe.embedder.neighbours)
    return WithLikelihood(embedder, likelihood, weight=recipe.likelihood.weight) if likelihood else embedder


def stored_likelihood(folder: Path) -> Likelihood:
    """Return the likelihood of the pairs whose shards a labelling by ``QueryLikelihood`` left in a folder."""
    known = relevance_in(folder)
    return lambda pairs: np.array([known[pair] for pair in pairs])


class Judged(NamedTuple):
    """What the committee found: the pairs with its word on each, how far its members agree (rank correlation; None without a teacher), its embedder's range."""

    labelled: list[LabelledPair]
    agreement: float | None
    range: tuple[float, float]


def judge_together(
    labelled: Sequence[LabelledPair], embedder: Judge, *, teacher_share: float, by_agreement: bool = False, on_pairs: Callable[[int], None] | None = None
) -> Judged:
    """Give each pair the committee's relevance: ``teacher_share`` of the teacher's, the rest the embedder's; pairs without a teacher's word take share 0.

    ``by_agreement``: the teacher's share is smaller where it orders a query's products otherwise (``together``). The
    embedder's scores are stretched to 0–1 first, from their 1st percentile to the top thousandth.

    Raises:
        RecipeError: there is no pair.
    """
    from scipy.stats import spearmanr

    if not labelled:
        raise RecipeError("There is no labelled pair.", hint="Raise the recipe's [augmentation] numbers.")
    asked = [(pair.query, pair.product_id) for pair in labelled]
    scores = embedder.scores(asked, on_pairs)
    low, high = (float(bound) for bound in np.percentile(scores, [1, 99.9]))
    teacher = np.array([pair.relevance if pair.distribution else 0.0 for pair in labelled])
    relevance = together(asked, teacher, scores, teacher_share=teacher_share, by_agreement=by_agreement, scores_range=(low, high))
    judged = [pair._replace(together=float(value)) for pair, value in zip(labelled, relevance, strict=True)]
    agreement = round(float(np.nan_to_num(spearmanr(teacher, scores).statistic)), 4) if teacher.any() else None
    return Judged(judged, agreement, (low, high))


def together(
    pairs: Sequence[tuple[str, str]],
    teacher: np.ndarray,
    embedder: np.ndarray,
    *,
    teacher_share: float,
    by_agreement: bool = False,
    scores_range: tuple[float, float],
) -> np.ndarray:
    """Return the committee's relevance, 0 to 1, of (query, product id) pairs: the teacher's relevance and the embedder's scores, all (n,), by their shares.

    ``by_agreement`` takes the teacher's share times how far the two agree on the query's products: their rank correlation, at
    least 0. A teacher that met laptops only as wrong answers contradicts the embedder on every query for laptops, and is not
    heard there. It depends on which products of a query are among the pairs. Source: S. Wu and F. Crestani, Data fusion with
    estimated weights, CIKM 2002 (whoever agrees with the others weighs more).
    """
    low, high = scores_range
    stretched = np.clip((embedder - low) / max(high - low, 1e-6), 0, 1)
    share = teacher_share * (_agreement(pairs, teacher, embedder) if by_agreement else 1.0)
    relevance: np.ndarray = share * teacher + (1 - share) * stretched
    return relevance


def _agreement(pairs: Sequence[tuple[str, str]], teacher: np.ndarray, embedder: np.ndarray) -> np.ndarray:
    """Return the rank correlation, at least 0, of teacher and embedder over the products of each pair's query: (n,)."""
    from scipy.stats import spearmanr

    out = np.zeros(len(pairs))
    for rows in _rows_by_query(pairs).values():
        if np.ptp(teacher[rows]) > 0 and np.ptp(embedder[rows]) > 0:
            out[rows] = max(0.0, float(spearmanr(teacher[rows], embedder[rows]).statistic))
    return out
