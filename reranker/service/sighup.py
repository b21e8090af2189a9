"""SIGHUP, the signal by which a daemon is told to read its files again."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress


def ignore_sighup() -> None:
    """Let SIGHUP not end the process while it starts."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def on_sighup(action: Callable[[], None]) -> None:
    """Do ``action``, which must not raise, in a thread of its own at each SIGHUP; several at once count as one. Nothing where there is no SIGHUP."""
    if not hasattr(signal, "SIGHUP"):
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def wait() -> None:
        while os.read(reading, 4096):
            action()

    def told(*_: object) -> None:  # runs between any two steps of the main thread: taking a lock here could wait for ever
        with suppress(BlockingIOError):
            os.write(writing, b".")

    threading.Thread(target=wait, name="sighup", daemon=True).start()
    signal.signal(signal.SIGHUP, told)
