"""Soft targets: a judgment as a probability for each grade."""

from __future__ import annotations

import numpy as np

from reranker.judgments import Judgment
from reranker_distill.recipe import Teacher


def soft_target(judgment: Judgment, settings: Teacher) -> np.ndarray:
    """Return the grade distribution of a judgment, float32 (grades,).

    The votes' shares, moved towards the final grade by ``smoothing``; without votes the final grade alone.
    Source: arXiv 2505.07105, section on teacher training: the raters' disagreement is kept.
    """
    final = np.eye(settings.grades, dtype=np.float32)[judgment.rating]
    if not judgment.votes:
        return final
    votes = np.bincount(judgment.votes, minlength=settings.grades).astype(np.float32)
    return settings.smoothing * final + (1 - settings.smoothing) * votes / votes.sum()


def expected_relevance(distributions: np.ndarray) -> np.ndarray:
    """Return the expected grade of (n, grades) distributions, scaled to 0–1: float32 (n,)."""
    relevance: np.ndarray = distributions @ np.arange(distributions.shape[1], dtype=np.float32) / (distributions.shape[1] - 1)
    return relevance
