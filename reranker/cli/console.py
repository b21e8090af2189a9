"""Where a command prints tables to."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_PIPED = 160  # columns; nothing tells how wide the reader of a pipe is


def output_console() -> Console:
    """Return the console of the standard output, as wide as the terminal, or as COLUMNS says, or wide where it is piped."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPED, highlight=False)
