"""A cache of arrays: least recently used entries are evicted, and concurrent requests for one key compute it once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from cachetools import LRUCache, cached


class CacheState(NamedTuple):
    """Size of a cache now, and lookups since the process started; ``bytes`` are those of the values."""

    entries: int
    bytes: int
    hits: int
    misses: int


class Cache:
    """Arrays by key, evicted by least recent use. Thread-safe. Callers must not write to the arrays.

    Args:
        max_entries: number of entries; 0 caches nothing.
    """

    def __init__(self, max_entries: int) -> None:
        self._entries: LRUCache[bytes, np.ndarray] = LRUCache(max_entries)
        self._lock = threading.Condition()
        self._get = cached(self._entries, key=lambda key, compute: key, condition=self._lock, info=True)(lambda key, compute: compute())
        self._hits = self._misses = 0  # of ``find``; ``_get`` counts its own

    def get(self, key: bytes, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the entry. A missing one is computed, once for all threads that ask meanwhile, and cached."""
        if not self._entries.maxsize:
            return compute()
        value: np.ndarray = self._get(key, compute)
        return value

    def find(self, keys: Iterable[bytes]) -> dict[bytes, np.ndarray]:
        """Return the entries of those keys that are cached."""
        found: dict[bytes, np.ndarray] = {}
        with self._lock:
            for key in keys:
                value = self._entries.get(key)
                if value is None:
                    self._misses += 1
                else:
                    self._hits += 1
                    found[key] = value
        return found

    def add(self, entries: Mapping[bytes, np.ndarray]) -> None:
        """Add entries that were computed elsewhere."""
        if self._entries.maxsize:
            with self._lock:
                self._entries.update(entries)

    def clear(self) -> None:
        """Drop all entries; the counts of lookups stay."""
        with self._lock:
            self._entries.clear()

    def state(self) -> CacheState:
        lookups = self._get.cache_info()
        with self._lock:
            values = list(self._entries.values())
            hits, misses = self._hits + lookups.hits, self._misses + lookups.misses
        return CacheState(len(values), sum(value.nbytes for value in values), hits, misses)


@lru_cache(10_000)
def text_digest(text: str) -> bytes:
    """Return ``digest`` of one text. Recent results are cached, since searches find the same products again."""
    return digest([text])


def digest(texts: Sequence[str]) -> bytes:
    """Return a key of 16 bytes for a sequence of texts."""
    hashed = blake2b(digest_size=16)
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        hashed.update(len(encoded).to_bytes(4, "little"))  # without it ("ab", "c") and ("a", "bc") would share a key
        hashed.update(encoded)
    return hashed.digest()
