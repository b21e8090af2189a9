"""Returns memory that is free inside the process to the system."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any


def return_free_memory() -> None:
    """Return freed memory to the system, in milliseconds. Without it glibc keeps what a large model or request took. Does nothing with another C library."""
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Any:
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
