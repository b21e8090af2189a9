"""How long work takes: a moving estimate, so that what would be late need not be begun."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_KEEP = 0.8
"""What each measurement leaves of the weight of those before it: five count for about two thirds."""


class Pace:
    """Seconds per unit of work, the latest counting most. Safe to share between threads.

    Args:
        fades_after_s: the estimate halves in every such time in which no work is begun or measured. Where the estimate decides
            whether there is any work at all, it must: else, once too high, it would let nothing through that could correct it.
        clock: seconds, never going back.
    """

    def __init__(self, *, fades_after_s: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._fades_after_s = fades_after_s
        self._clock = clock
        self._seconds = self._units = self._works = 0.0
        self._latest = clock()
        self._lock = threading.Lock()

    def expected_s(self, units: float | None = None) -> float:
        """Return the seconds that so many units will take, or a work of average size; 0 where nothing is known."""
        with self._lock:
            if not self._units:
                return 0.0
            return self._faded() * (self._seconds / self._works if units is None else self._seconds / self._units * units)

    def begin(self) -> None:
        """Tell that work has begun. Where it is a trial after a pause, others wait for what it shows."""
        with self._lock:
            self._latest = self._clock()

    def observe(self, seconds: float, units: float = 1) -> None:
        """Tell how long work took."""
        with self._lock:
            weight = _KEEP * self._faded()
            self._seconds = self._seconds * weight + seconds
            self._units = self._units * weight + units
            self._works = self._works * weight + 1
            self._latest = self._clock()

    def _faded(self) -> float:
        return 1.0 if self._fades_after_s is None else float(0.5 ** ((self._clock() - self._latest) / self._fades_after_s))


class StudentPace(Pace):
    """Seconds per product that a student takes for products it knows; fades, since it decides whether the student is asked."""

    def __init__(self) -> None:
        super().__init__(fades_after_s=1.0)

    @contextmanager
    def measured(self, student: Any, products: int) -> Iterator[None]:
        """Measure a scoring. One in which vectors of products were computed does not count: that is done once, and says nothing of the next."""
        made, began = getattr(student, "vectors_made", 0), time.perf_counter()
        self.begin()
        yield
        if getattr(student, "vectors_made", 0) == made:
            self.observe(time.perf_counter() - began, products)
