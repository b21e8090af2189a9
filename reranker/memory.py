"""Keeps memory that is free inside the process from staying there: glibc returns little of it by itself."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
_LARGE_BLOCK = 256 * 1024


def map_large_blocks() -> None:
    """Let every block from 256 KiB be returned to the system when it is freed. glibc by itself raises that threshold up to 32 MiB."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK)


def return_free_memory() -> None:
    """Return freed memory to the system, in milliseconds. Without it glibc keeps what a large model or request took. Does nothing with another C library."""
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Any:
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
