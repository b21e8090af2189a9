"""Micro-batching: texts that threads ask for at the same time are encoded in one run of the model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np

MAX_BATCH = 8
"""Texts in one run. Beyond it, time grows about linearly with the number of texts."""


class MicroBatcher:
    """Collects the texts asked for while a run is in progress and encodes them in the next run. Thread-safe.

    A single caller never waits. With several, a text waits for the run in progress and, if more than ``max_batch`` are
    waiting, for the batches before its own.

    Args:
        encode: takes texts and returns a row for each: (n, width).
        batchable: whether a text's row is the same in any batch. If not, each text is encoded alone and at once.
        max_running: number of runs in progress at the same time.
        max_batch: number of texts in one run.
    """

    def __init__(
        self, encode: Callable[[Sequence[str]], np.ndarray], *, batchable: Callable[[], bool], max_running: int = 1, max_batch: int = MAX_BATCH
    ) -> None:
        self._encode = encode
        self._batchable = batchable
        self._max_running = max_running
        self._max_batch = max_batch
        self._running = 0
        self._waiting: list[_Request] = []
        self._lock = threading.Lock()

    def row(self, text: str) -> np.ndarray:
        """Return the text's row, (width,)."""
        request = _Request(text)
        if not self._start(request):
            if not self._batchable():
                return self._encode_alone(text)
            try:
                if not self._start(request, or_wait=True):  # a run may have ended meanwhile
                    request.woken.wait()  # until another thread has encoded the text, or this one is to run a batch
            except BaseException:  # Ctrl-C
                self._cancel(request)
                raise
        if request.batch:
            self._run(request.batch)
        return self._encode_alone(text) if request.row is None else request.row

    def _start(self, request: _Request, *, or_wait: bool = False) -> bool:
        """Let the calling thread run its text if fewer than ``max_running`` runs are in progress; else put it in the queue if ``or_wait``."""
        with self._lock:
            if self._running < self._max_running:
                self._running += 1
                request.batch = [request]
                return True
            if or_wait:
                self._waiting.append(request)
            return False

    def _cancel(self, request: _Request) -> None:
        """Leave the queue. A batch already assigned to this thread is still run, since other threads wait for it."""
        with self._lock:
            if request in self._waiting:
                self._waiting.remove(request)
        if request.batch:
            self._run(request.batch)

    def _run(self, batch: list[_Request]) -> None:
        try:
            for request, row in zip(batch, self._encode([request.text for request in batch]), strict=True):
                request.row = row.copy()  # a view would keep the whole matrix in memory
        except Exception:
            if len(batch) == 1:
                raise  # in a larger batch each thread then encodes its text alone, so that one text cannot fail the others
        finally:
            self._start_next()
            for request in batch:
                request.woken.set()

    def _start_next(self) -> None:
        """Assign the next batch to the thread of its first text; without one, end this run."""
        with self._lock:
            batch, self._waiting = self._waiting[: self._max_batch], self._waiting[self._max_batch :]
            if not batch:
                self._running -= 1
                return
            batch[0].batch = batch
        batch[0].woken.set()

    def _encode_alone(self, text: str) -> np.ndarray:
        row: np.ndarray = self._encode([text])[0]
        return row


class _Request:
    """A text that a thread waits for. ``batch``: what that thread is to run, its own request first."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.row: np.ndarray | None = None
        self.batch: list[_Request] = []
        self.woken = threading.Event()
