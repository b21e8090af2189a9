"""Texts that several threads ask about at once, read by a network in one run: its weights are then fetched from memory once for all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np

MOST = 8
"""Texts in one run; beyond it a run takes about as much longer as it has more texts."""


class MicroBatches:
    """Reads together what is asked for while a run is under way. Who asks alone does not wait. Safe to share between threads.

    A text waits at most for the run under way and, where more than ``most`` wait, for those of the texts before it.

    Args:
        read: takes texts and returns a row for each: (n, width).
        shares: whether a text's row is the same whatever is read beside it; where it is not, each is read alone, at once.
        at_once: how many runs may be under way.
        most: texts in one run.
    """

    def __init__(self, read: Callable[[Sequence[str]], np.ndarray], *, shares: Callable[[], bool], at_once: int = 1, most: int = MOST) -> None:
        self._read = read
        self._shares = shares
        self._at_once = at_once
        self._most = most
        self._running = 0
        self._waiting: list[_Asked] = []
        self._lock = threading.Lock()

    def row(self, text: str) -> np.ndarray:
        """Return the text's row, (width,)."""
        asked = _Asked(text)
        if not self._may_run(asked):
            if not self._shares():
                return self._alone(text)
            try:
                if not self._may_run(asked, else_waits=True):  # a run may have ended meanwhile
                    asked.woken.wait()  # until another thread has read the text, or this one is to read a batch
            except BaseException:  # Ctrl-C
                self._give_up(asked)
                raise
        if asked.batch:
            self._run(asked.batch)
        return self._alone(text) if asked.row is None else asked.row

    def _may_run(self, asked: _Asked, *, else_waits: bool = False) -> bool:
        """Let the text be read by its own thread if fewer runs are under way than may be; put it among those that wait if not."""
        with self._lock:
            if self._running < self._at_once:
                self._running += 1
                asked.batch = [asked]
                return True
            if else_waits:
                self._waiting.append(asked)
            return False

    def _give_up(self, asked: _Asked) -> None:
        """Leave the queue so that nobody goes on waiting for this thread."""
        with self._lock:
            if asked in self._waiting:
                self._waiting.remove(asked)
        if asked.batch:
            self._run(asked.batch)

    def _run(self, batch: list[_Asked]) -> None:
        try:
            for asked, row in zip(batch, self._read([asked.text for asked in batch]), strict=True):
                asked.row = row.copy()  # a row of the matrix would keep all of it in memory
        except Exception:
            if len(batch) == 1:
                raise  # of several, each reads its text alone, so that one cannot fail the others
        finally:
            self._hand_on()
            for asked in batch:
                asked.woken.set()

    def _hand_on(self) -> None:
        """Let the first of those who wait read for the next ones, or end."""
        with self._lock:
            following, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            if not following:
                self._running -= 1
                return
            following[0].batch = following
        following[0].woken.set()

    def _alone(self, text: str) -> np.ndarray:
        row: np.ndarray = self._read([text])[0]
        return row


class _Asked:
    """A text that a thread waits for; ``batch``: what that thread is to read, itself first."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.row: np.ndarray | None = None
        self.batch: list[_Asked] = []
        self.woken = threading.Event()
