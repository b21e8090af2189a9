"""Watches a bundle's folder, or a link to it, for a new bundle."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from reranker.bundle import MANIFEST, bundle_folder, sha256


class Watch:
    """Polls in its own thread. A change is reported once two polls in a row see the same state, so that a copy in progress is not loaded.

    Args:
        path: as in ``load_bundle``.
        on_change: called after each change; must not raise.
        every_s: seconds between polls.
    """

    def __init__(self, path: str | Path | None, on_change: Callable[[], None], *, every_s: float = 1.0) -> None:
        self._path = path
        self._on_change = on_change
        self._every_s = every_s
        self._stop = threading.Event()
        self._known = _state(path)
        self._thread = threading.Thread(target=self._poll, name="watch", daemon=True)
        self._thread.start()

    def _poll(self) -> None:
        seen = None
        while not self._stop.wait(self._every_s):
            state = _state(self._path)
            if state is None or state == self._known:
                seen = None
            elif state == seen:
                self._known, seen = state, None
                self._on_change()
            else:
                seen = state

    def close(self) -> None:
        self._stop.set()


def _state(path: str | Path | None) -> tuple[object, ...] | None:
    """Return what identifies a bundle's state: folder, manifest, sizes and times of its files; None if there is none."""
    try:
        folder = bundle_folder(path).resolve()
        files = sorted((entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in os.scandir(folder) if entry.is_file())
        return folder, sha256(folder / MANIFEST), *files
    except OSError:
        return None
