"""Label fusion: one relevance for each pair, from the teacher, an off-the-shelf embedder and a pretrained language model.

A teacher fine-tuned on few judgments errs where a whole intent is missing from them; an embedder needs no judgments, but
takes a laptop bag for a laptop. Their errors differ, so that a weighted mean has fewer of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from reranker.errors import RecipeError
from reranker_distill.pairs import LabelledPair
from reranker_distill.recipe import Embedder

Key = tuple[str, str]
"""A (query, product id) pair."""


class FusedLabels(NamedTuple):
    """The pairs with their fused relevance.

    ``agreement`` is the rank correlation of teacher and scores over all pairs (None without a teacher); ``score_range`` are
    the scores that stand for a relevance of 0 and 1.
    """

    labelled: list[LabelledPair]
    agreement: float | None
    score_range: tuple[float, float]


def adjust_by_likelihood(pairs: Sequence[Key], scores: np.ndarray, likelihoods: np.ndarray, weight: float) -> np.ndarray:
    """Return an embedder's scores, raised for products after which a language model finds the query likely: float32 (n,).

    Likelihoods of different queries cannot be compared; those of one query can. They are added as standard deviations over
    the products of their query: one of theirs moves a score by ``weight`` of the scores' own.

    Args:
        likelihoods: probability, above 0, of the query of each pair, (n,).
    """
    adjusted = scores.astype(np.float32)
    logs = np.log(np.maximum(likelihoods, 1e-30))
    for rows in rows_by_query(pairs).values():
        spread = logs[rows].std()
        if spread > 0:
            adjusted[rows] += weight * adjusted[rows].std() * (logs[rows] - logs[rows].mean()) / spread
    return adjusted


def fuse_labels(labelled: Sequence[LabelledPair], scores: np.ndarray, settings: Embedder) -> FusedLabels:
    """Give each pair a relevance fused from its teacher's distribution, where it has one, and the embedder's score, (n,).

    Scores are scaled to 0–1, from their 1st percentile to the top thousandth.

    Raises:
        RecipeError: there is no pair.
    """
    from scipy.stats import spearmanr

    if not labelled:
        raise RecipeError("There is no labelled pair.", hint="Raise the recipe's [augmentation] numbers.")
    low, high = (float(bound) for bound in np.percentile(scores, [1, 99.9]))
    teacher = np.array([pair.relevance if pair.distribution else 0.0 for pair in labelled])
    keys = [(pair.query, pair.product_id) for pair in labelled]
    relevance = fused_relevance(keys, teacher, scores, settings, (low, high))
    fused = [pair._replace(fused=float(value)) for pair, value in zip(labelled, relevance, strict=True)]
    agreement = round(float(np.nan_to_num(spearmanr(teacher, scores).statistic)), 4) if teacher.any() else None
    return FusedLabels(fused, agreement, (low, high))


def fused_relevance(pairs: Sequence[Key], teacher: np.ndarray, scores: np.ndarray, settings: Embedder, score_range: tuple[float, float]) -> np.ndarray:
    """Return the fused relevance of pairs, 0–1, (n,): the teacher's relevance, (n,), and the embedder's scores, (n,), by their shares.

    With ``teacher_by_agreement`` the teacher's share is multiplied by the rank correlation of the two over the query's
    products, at least 0: a teacher that saw laptops only as irrelevant products contradicts the embedder on every query
    for laptops, and is ignored there. Source: S. Wu and F. Crestani, Data fusion with estimated weights, CIKM 2002.
    """
    low, high = score_range
    scaled = np.clip((scores - low) / max(high - low, 1e-6), 0, 1)
    teacher_share = (1 - settings.share) * (_agreement(pairs, teacher, scores) if settings.teacher_by_agreement else 1.0)
    relevance: np.ndarray = teacher_share * teacher + (1 - teacher_share) * scaled
    return relevance


def rows_by_query(pairs: Sequence[Key]) -> dict[str, list[int]]:
    """Return each query's rows among the pairs."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, (query, _) in enumerate(pairs):
        rows[query].append(row)
    return rows


def _agreement(pairs: Sequence[Key], teacher: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the rank correlation, at least 0, of teacher and scores over the products of each pair's query: (n,)."""
    from scipy.stats import spearmanr

    agreement = np.zeros(len(pairs))
    for rows in rows_by_query(pairs).values():
        if np.ptp(teacher[rows]) > 0 and np.ptp(scores[rows]) > 0:
            agreement[rows] = max(0.0, float(spearmanr(teacher[rows], scores[rows]).statistic))
    return agreement
