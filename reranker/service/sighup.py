"""Handling of SIGHUP, which tells a daemon to read its files again."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress


def ignore_sighup() -> None:
    """Ignore SIGHUP while the process starts: its default ends the process."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def on_sighup(action: Callable[[], None]) -> None:
    """Run ``action``, which must not raise, in a thread at each SIGHUP; several at once count as one. Does nothing on systems without SIGHUP."""
    if not hasattr(signal, "SIGHUP"):
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def wait() -> None:
        while os.read(reading, 4096):
            action()

    def wake(*_: object) -> None:  # interrupts the main thread anywhere, so taking a lock here could deadlock
        with suppress(BlockingIOError):
            os.write(writing, b".")

    threading.Thread(target=wait, name="sighup", daemon=True).start()
    signal.signal(signal.SIGHUP, wake)
