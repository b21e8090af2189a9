"""Medians, percentiles, ratios and straight lines, with bootstrap intervals over queries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

RESAMPLES = 2_000
CONFIDENCE = 0.95
_SEED = 20_230_419


class Estimate(NamedTuple):
    """A figure and its 95 % percentile bootstrap interval."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, Any]:
        return {"value": rounded(self.value), "interval": [rounded(self.low), rounded(self.high)]}


class Line(NamedTuple):
    """y = fixed + slope · x, each with its interval."""

    fixed: Estimate
    slope: Estimate


def rounded(value: float) -> float:
    """Round to five significant digits, as in result files."""
    return float(f"{value:.5g}")


def percentile(samples: np.ndarray, share: float) -> Estimate:
    """Return a percentile of all samples (rounds, queries). The bootstrap resamples queries, each with all of its rounds."""
    flat = samples.shape[0] * samples.shape[1]
    return _estimate(samples.shape[1], lambda drawn: np.percentile(np.moveaxis(samples[:, drawn], 0, -1).reshape(len(drawn), flat), share, axis=1))


def ratio(of: np.ndarray, to: np.ndarray) -> Estimate:
    """Return the median over queries of the latency ratio of two systems.

    Args:
        of, to: samples (rounds, queries) of the same queries; a query's ratio is that of its medians over rounds.
    """
    ratios = np.median(of, axis=0) / np.maximum(np.median(to, axis=0), 1e-9)
    return _estimate(len(ratios), lambda drawn: np.median(ratios[drawn], axis=1))


def line(x: np.ndarray, y: np.ndarray) -> Line:
    """Fit y = fixed + slope · x by least squares of relative errors, over queries.

    Each point is weighted by 1/y². Unweighted, the largest points would determine the line, and the fixed part would be noise.

    Args:
        x, y: (points, queries); each resample draws queries.
    """
    weight = 1 / np.maximum(y, 1e-9) ** 2

    def fit(drawn: np.ndarray) -> np.ndarray:
        w, xs, ys = (np.moveaxis(a[:, drawn], 0, -1).reshape(len(drawn), -1) for a in (weight, x, y))
        mean_x, mean_y = (w * xs).sum(1) / w.sum(1), (w * ys).sum(1) / w.sum(1)
        across = xs - mean_x[:, None]
        slope = (w * across * (ys - mean_y[:, None])).sum(1) / np.maximum((w * across**2).sum(1), 1e-12)
        return np.stack([mean_y - slope * mean_x, slope])

    fixed = _estimate(x.shape[1], lambda drawn: fit(drawn)[0])
    return Line(fixed, _estimate(x.shape[1], lambda drawn: fit(drawn)[1]))


def _estimate(queries: int, figure: Callable[[np.ndarray], np.ndarray]) -> Estimate:
    """Return a statistic of all queries with its bootstrap interval. ``figure`` takes query indices (resamples, queries)."""
    rng = np.random.default_rng(_SEED)
    value = float(figure(np.arange(queries)[None])[0])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(figure(rng.integers(queries, size=(RESAMPLES, queries))), [tail, 1 - tail])
    return Estimate(value, min(float(low), value), max(float(high), value))
