"""Shadow scoring: a second bundle scores the same traffic and is compared, but its scores are never served."""

from __future__ import annotations

import logging
import queue
import threading
import time
from contextlib import suppress
from typing import Any

import numpy as np

from reranker.rollout.agreement import kendall_tau, top_10_overlap
from reranker.rollout.loading import LoadedBundle
from reranker.rollout.observer import Observer
from reranker.rollout.switchable import Sample

log = logging.getLogger(__name__)

CAPACITY = 64


class Shadow:
    """Scores samples in its own thread. Its queue is bounded: samples that do not fit are dropped and counted.

    Args:
        loaded: the shadow bundle.
        against: the model that serves. Samples of other models are left out of the agreement.
        observer: notified of each scoring, failure and drop.
    """

    def __init__(self, loaded: LoadedBundle, *, against: str, observer: Observer) -> None:
        self.loaded = loaded
        self._observer = observer
        self._queue: queue.Queue[Sample | None] = queue.Queue(CAPACITY)
        self._lock = threading.Lock()
        self._stopped = False
        self._samples = self._failures = self._dropped = 0
        self._seconds = 0.0
        self.compare_with(against)
        self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
        self._thread.start()

    def compare_with(self, model: str) -> None:
        """Measure the agreement with another model from now on."""
        with self._lock:
            self._against = model
            self._agreement: dict[str, list[float]] = {"kendall_tau": [0, 0.0], "top_10_overlap": [0, 0.0]}  # count and sum

    def offer(self, sample: Sample) -> None:
        """Queue the sample, or drop it if the queue is full; returns at once."""
        if self._stopped or len(sample.products) == 0:
            return
        try:
            self._queue.put_nowait(sample)
        except queue.Full:
            with self._lock:
                self._dropped += 1
            self._observer.shadow_dropped()

    def _work(self) -> None:
        while (sample := self._queue.get()) is not None and not self._stopped:
            try:
                self._compare(sample)
            except Exception:  # clients never see a failure of the shadow
                with self._lock:
                    self._failures += 1
                    first = self._failures == 1
                self._observer.shadow_failed()
                if first:
                    log.exception("the shadow %s failed; further failures are only counted", self.loaded.reranker.model)

    def _compare(self, sample: Sample) -> None:
        began = time.perf_counter()
        scores = self.loaded.reranker.score(sample.query, sample.products)
        seconds = time.perf_counter() - began
        if scores.shape != (len(sample.products),) or not np.isfinite(scores).all():
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
        self._observer.shadow_scored(seconds)

    def agreement(self) -> dict[str, float | None]:
        """Return the means of ``kendall_tau`` (-1 to 1) and ``top_10_overlap`` (0 to 1) with the serving model; None where nothing was measured."""
        with self._lock:
            return {name: round(total / count, 6) if count else None for name, (count, total) in self._agreement.items()}

    def stats(self) -> dict[str, Any]:
        """Return counts, mean milliseconds, and the agreement with the serving bundle."""
        agreement = self.agreement()
        with self._lock:
            return {
                "samples": self._samples,
                "failures": self._failures,
                "dropped": self._dropped,
                "mean_ms": round(self._seconds / self._samples * 1e3, 3) if self._samples else None,
                "agreement": agreement,
            }

    def stop(self) -> None:
        """Take no more samples. The result of a scoring in progress is discarded."""
        self._stopped = True
        with suppress(queue.Full):  # then the thread is busy, and checks after each sample whether to stop
            self._queue.put_nowait(None)
