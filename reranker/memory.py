"""Keeps memory that is free inside the process from staying there: glibc returns little of it by itself."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # of glibc's malloc.h
_LARGE_BLOCK = 256 * 1024
_ARENAS = 4


def keep_memory_together() -> None:
    """Let blocks from 256 KiB be returned to the system when they are freed, and let threads share four heaps.

    glibc by itself raises that threshold up to 32 MiB, and has eight heaps for each core, of which each keeps what it once needed.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK)
        libc.mallopt(_M_ARENA_MAX, _ARENAS)


def return_free_memory() -> None:
    """Return freed memory to the system, in milliseconds. Without it glibc keeps what a large model or request took. Does nothing with another C library."""
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Any:
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
