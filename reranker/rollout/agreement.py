"""Agreement of two rankings of the same products."""

from __future__ import annotations

import numpy as np

TOP = 10


def kendall_tau(a: np.ndarray, b: np.ndarray) -> float | None:
    """Return Kendall's tau-b of two scores per product, both (n,): 1 for the same order, -1 for the reverse.

    None if it is not defined: fewer than two products, or equal scores for all of them on one side.
    """
    i, j = np.triu_indices(len(a), 1)
    of_a, of_b = np.sign(a[i] - a[j]), np.sign(b[i] - b[j])
    untied = np.sqrt(float(np.count_nonzero(of_a)) * np.count_nonzero(of_b))
    return None if untied == 0 else float((of_a * of_b).sum(dtype=np.float64) / untied)


def top_10_overlap(a: np.ndarray, b: np.ndarray) -> float | None:
    """Return the share of the ten best by ``a`` that are among the ten best by ``b``; None for ten products or fewer, which always agree."""
    if len(a) <= TOP:
        return None
    best_a, best_b = (np.argsort(-scores, kind="stable")[:TOP] for scores in (a, b))
    return len(np.intersect1d(best_a, best_b)) / TOP
