"""How far two rankings of the same products agree."""

from __future__ import annotations

import numpy as np

TOP = 10


def kendall_tau(a: np.ndarray, b: np.ndarray) -> float | None:
    """Return Kendall's tau-b of two scores per product, both (n,): 1 for the same order, -1 for the reverse.

    None where it is not defined: fewer than two products, or one side scores all of them alike.
    """
    i, j = np.triu_indices(len(a), 1)
    of_a, of_b = np.sign(a[i] - a[j]), np.sign(b[i] - b[j])
    untied = np.sqrt(float(np.count_nonzero(of_a)) * np.count_nonzero(of_b))
    return None if untied == 0 else float((of_a * of_b).sum(dtype=np.float64) / untied)


def top_10_overlap(a: np.ndarray, b: np.ndarray) -> float | None:
    """Return which share of the ten best by ``a`` is among the ten best by ``b``, 0 to 1; None for ten products or fewer, which always agree."""
    if len(a) <= TOP:
        return None
    best_a, best_b = (np.argsort(-scores, kind="stable")[:TOP] for scores in (a, b))
    return len(np.intersect1d(best_a, best_b)) / TOP
