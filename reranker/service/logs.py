"""The service's log: lines of bounded length, and repeated ones counted instead of written."""

from __future__ import annotations

import logging
import threading
import time

MAX_CHARACTERS = 4_000
_LINES = 5
_EVERY_S = 10.0
_KINDS = 1_000


class CountRepeated(logging.Filter):
    """Passes the first five records of a kind (place in the code and level) in ten seconds; the next one that passes says how many did not."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, int, int], list[float]] = {}  # since when, how many
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        with self._lock:
            if len(self._seen) > _KINDS:
                self._seen.clear()
            since_and_count = self._seen.setdefault((record.pathname, record.lineno, record.levelno), [now, 0])
            left_out = 0
            if now - since_and_count[0] > _EVERY_S:
                left_out = int(max(0, since_and_count[1] - _LINES))
                since_and_count[:] = [now, 0]
            since_and_count[1] += 1
            if since_and_count[1] > _LINES:
                return False
        if left_out:
            record.msg = f"{record.getMessage()} ({left_out:,} like it before were left out)"
            record.args = None
        return True


class BoundedFormatter(logging.Formatter):
    """Cuts the middle out of long lines: a traceback's end says what happened."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        if len(line) <= MAX_CHARACTERS:
            return line
        half = MAX_CHARACTERS // 2
        return f"{line[:half]} … {line[-half:]}"


def log_to_stderr() -> None:
    """Write warnings and errors of all libraries to the error output."""
    handler = logging.StreamHandler()
    handler.setFormatter(BoundedFormatter("%(asctime)s %(levelname)s %(message)s"))
    handler.addFilter(CountRepeated())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
