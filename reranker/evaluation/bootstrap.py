"""Bootstrap intervals over queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 10_000
CONFIDENCE = 0.95
_SEED = 20_230_419
_DRAWS_AT_ONCE = 4_000_000  # keeps 20,000 queries from filling memory


class Interval(NamedTuple):
    """A mean over queries, and its 95 % percentile bootstrap interval."""

    mean: float
    low: float
    high: float


def bootstrap(values: Sequence[float]) -> Interval:
    """Return the mean of per-query values with its interval: queries are drawn with replacement, 10,000 times.

    Given differences of two rankings per query, the interval is that of the paired comparison.
    The seed is fixed: the same values always give the same interval.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise ValueError("no values")
    rng = np.random.default_rng(_SEED)
    chunk = max(1, _DRAWS_AT_ONCE // array.size)
    means = np.concatenate(
        [array[rng.integers(array.size, size=(min(chunk, RESAMPLES - done), array.size))].mean(axis=1) for done in range(0, RESAMPLES, chunk)]
    )
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(array.mean()), float(low), float(high))
