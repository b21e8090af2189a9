"""The console on which commands print tables."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_PIPED = 160  # columns; the width of a pipe's reader is unknown


def output_console() -> Console:
    """Return a console for the standard output: as wide as the terminal or as COLUMNS says, and wide if piped."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPED, highlight=False)
