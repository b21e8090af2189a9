"""Bootstrap confidence intervals over queries, clustered by intent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 10_000
CONFIDENCE = 0.95
_SEED = 20_230_419
_DRAWS_AT_ONCE = 4_000_000  # limits memory at 20,000 queries


class Interval(NamedTuple):
    """A mean over queries, and its 95 % percentile bootstrap interval."""

    mean: float
    low: float
    high: float


def bootstrap(values: Sequence[float], intents: Sequence[str] | None = None) -> Interval:
    """Return the mean of per-query values with its interval from 10,000 resamples of the queries.

    With ``intents``, one per query, intents are resampled together with all their queries: rewordings of one intent are not
    independent, and treating them so makes the interval too narrow.

    For per-query differences of two rankings, this is the interval of the paired comparison.
    The seed is fixed: the same values always give the same interval.

    Raises:
        ValueError: there are no values.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise ValueError("no values")
    groups = np.arange(array.size)
    if intents is not None:
        _, groups = np.unique([intent.casefold() for intent in intents], return_inverse=True)
    sums, sizes = np.bincount(groups, weights=array), np.bincount(groups)
    rng = np.random.default_rng(_SEED)
    chunk = max(1, _DRAWS_AT_ONCE // sums.size)
    drawn = (rng.integers(sums.size, size=(min(chunk, RESAMPLES - done), sums.size)) for done in range(0, RESAMPLES, chunk))
    means = np.concatenate([sums[rows].sum(axis=1) / sizes[rows].sum(axis=1) for rows in drawn])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(array.mean()), float(low), float(high))
