"""Shadow scoring: a second bundle scores the same traffic and is compared, but its scores are never served."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from reranker.rollout.loading import LoadedBundle

log = logging.getLogger(__name__)

CAPACITY = 64
QUEUED_BYTES = 16 * 1024 * 1024
"""Limits of what waits for the shadow: samples, and bytes of their texts."""
TOP = 10


class Sample(NamedTuple):
    """A scoring: product texts by the shadow's template, scores float32 (n,) in their order, name and version of the ``model`` that scored."""

    query: str
    texts: Sequence[str]
    scores: np.ndarray
    model: str

    @property
    def bytes(self) -> int:
        return sum(text.__sizeof__() for text in self.texts)


class Shadow:
    """Scores samples in its own thread. Its queue is bounded: samples that do not fit are dropped and counted.

    Args:
        loaded: the shadow bundle.
        against: the model that serves. Samples of other models are left out of the agreement.
    """

    def __init__(self, loaded: LoadedBundle, *, against: str) -> None:
        self.loaded = loaded
        self._queue: queue.Queue[Sample | None] = queue.Queue(CAPACITY)
        self._lock = threading.Lock()
        self._queued_bytes = 0
        self._stopped = False
        self._samples = self._failures = self._dropped = 0
        self._seconds = 0.0
        self.compare_with(against)
        threading.Thread(target=self._work, name="shadow", daemon=True).start()

    def compare_with(self, model: str) -> None:
        """Measure the agreement with another model from now on."""
        with self._lock:
            self._against = model
            self._agreement: dict[str, list[float]] = {"kendall_tau": [0, 0.0], "top_10_overlap": [0, 0.0]}  # count and sum

    def offer(self, sample: Sample) -> None:
        """Queue the sample, or drop it if the queue is full; returns at once."""
        if self._stopped or len(sample.texts) == 0:
            return
        with self._lock:
            if self._queue.full() or self._queued_bytes + sample.bytes > QUEUED_BYTES:
                self._dropped += 1
            else:
                self._queued_bytes += sample.bytes
                self._queue.put_nowait(sample)

    def _work(self) -> None:
        while (sample := self._queue.get()) is not None and not self._stopped:
            with self._lock:
                self._queued_bytes -= sample.bytes
            try:
                self._compare(sample)
            except Exception:  # clients never see a failure of the shadow
                with self._lock:
                    self._failures += 1
                    first = self._failures == 1
                if first:
                    log.exception("the shadow %s failed; further failures are only counted", self.loaded.reranker.model)

    def _compare(self, sample: Sample) -> None:
        began = time.perf_counter()
        scores = self.loaded.reranker.score_texts(sample.query, sample.texts)
        seconds = time.perf_counter() - began
        if scores.shape != (len(sample.texts),) or not np.isfinite(scores).all():
            raise ValueError("unusable scores")
        measured = {"kendall_tau": kendall_tau(sample.scores, scores), "top_10_overlap": top_10_overlap(sample.scores, scores)}
        with self._lock:
            self._samples += 1
            self._seconds += seconds
            if sample.model == self._against:
                for name, value in measured.items():
                    if value is not None:
                        self._agreement[name][0] += 1
                        self._agreement[name][1] += value

    def stats(self) -> dict[str, Any]:
        """Return counts, mean milliseconds, and ``agreement``.

        That has the means of ``kendall_tau`` (-1 to 1) and ``top_10_overlap`` (0 to 1) with the serving model; None where nothing was measured.
        """
        with self._lock:
            return {
                "samples": self._samples,
                "failures": self._failures,
                "dropped": self._dropped,
                "mean_ms": round(self._seconds / self._samples * 1e3, 3) if self._samples else None,
                "agreement": {name: round(total / count, 6) if count else None for name, (count, total) in self._agreement.items()},
            }

    def stop(self) -> None:
        """Take no more samples. The result of a scoring in progress is discarded."""
        self._stopped = True
        with self._lock, suppress(queue.Full):  # then the thread is busy, and checks after each sample whether to stop
            self._queue.put_nowait(None)


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
