"""Moving estimates of how long work takes, so that work that would be late is not started."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from reranker.scorer import Scorer

_DECAY = 0.8
"""Factor by which each measurement reduces the weight of earlier ones: the last five count for about two thirds."""


class TimeEstimate:
    """Exponentially weighted mean of seconds per unit of work. Thread-safe.

    Args:
        half_life_s: the estimate halves in each such period without a start or a measurement. An estimate that decides whether
            work is started at all needs it: one that is too high would otherwise never be corrected.
        clock: monotonic seconds.
    """

    def __init__(self, *, half_life_s: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._half_life_s = half_life_s
        self._clock = clock
        self._seconds = self._units = self._count = 0.0
        self._latest = clock()
        self._lock = threading.Lock()

    def expected_s(self, units: float | None = None) -> float:
        """Return the seconds expected for a number of units, or for a piece of work of average size; 0 before the first measurement."""
        with self._lock:
            if not self._units:
                return 0.0
            return self._decayed() * (self._seconds / self._count if units is None else self._seconds / self._units * units)

    def begin(self) -> None:
        """Note the start of work. After a pause this is a trial: the estimate stops falling until it is measured."""
        with self._lock:
            self._latest = self._clock()

    def observe(self, seconds: float, units: float = 1) -> None:
        """Add a measurement."""
        with self._lock:
            weight = _DECAY * self._decayed()
            self._seconds = self._seconds * weight + seconds
            self._units = self._units * weight + units
            self._count = self._count * weight + 1
            self._latest = self._clock()

    def _decayed(self) -> float:
        return 1.0 if self._half_life_s is None else float(0.5 ** ((self._clock() - self._latest) / self._half_life_s))


class RerankTimeEstimate(TimeEstimate):
    """Seconds per product of a scoring whose product vectors are known."""

    def __init__(self) -> None:
        super().__init__(half_life_s=1.0)

    @contextmanager
    def measured(self, scorer: Scorer, products: int) -> Iterator[None]:
        """Measure a scoring. One that computed product vectors is left out: that work is not repeated for the next query."""
        computed, began = scorer.vectors_computed, time.perf_counter()
        self.begin()
        yield
        if scorer.vectors_computed == computed:
            self.observe(time.perf_counter() - began, products)
