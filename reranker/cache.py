"""A cache of arrays, bounded in bytes: least recently used entries are evicted, and concurrent requests for one key compute it once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from math import inf
from typing import NamedTuple

import numpy as np
from cachetools import LRUCache, cached

DEFAULT_CACHE_BYTES = 128 * 1024 * 1024
"""Limit of all caches of a student, or of all students of a service."""
ENTRY_BYTES = 400
"""What an entry takes besides its values: key, array object, places in dictionaries. Measured with tracemalloc."""

_DIGESTS, _DIGESTED_BYTES = 8_192, 2_000
"""Digests of so many texts, of at most so many bytes each, are kept: 17 MB at most."""


class CacheState(NamedTuple):
    """Size of a cache now, and lookups since the process started; ``bytes`` is what counts against its limit: values, keys and overhead."""

    entries: int
    bytes: int
    hits: int
    misses: int


class Cache:
    """Arrays by key, evicted by least recent use. Thread-safe. Callers must not write to the arrays.

    Args:
        max_bytes: limit of values, keys and ``ENTRY_BYTES`` each; 0 caches nothing.
        max_entries: limit of entries; 0 caches nothing.
    """

    def __init__(self, max_bytes: int, *, max_entries: float = inf) -> None:
        self._entries = _Entries(max_bytes, max_entries)
        self._lock = threading.Condition()
        self._get = cached(self._entries, key=lambda key, compute: key, condition=self._lock, info=True)(lambda key, compute: compute())
        self._hits = self._misses = 0  # of ``find``; ``_get`` counts its own

    def get(self, key: bytes, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the entry. A missing one is computed, once for all threads that ask meanwhile, and cached."""
        if self._entries.is_off:
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
        with self._lock:
            self._entries.update(entries)

    def limit(self, max_bytes: int) -> None:
        """Change the limit in bytes. What no longer fits is evicted."""
        with self._lock:
            self._entries.max_bytes = max_bytes
            self._entries.evict()

    def clear(self) -> None:
        """Drop all entries; the counts of lookups stay."""
        with self._lock:
            self._entries.clear()

    def state(self) -> CacheState:
        lookups = self._get.cache_info()
        with self._lock:
            return CacheState(len(self._entries), int(self._entries.currsize), self._hits + lookups.hits, self._misses + lookups.misses)


class _Entries(LRUCache[bytes, np.ndarray]):
    """The entries of a ``Cache``. A limit of cachetools' own cannot be changed, so this evicts by itself."""

    def __init__(self, max_bytes: int, max_entries: float) -> None:
        super().__init__(inf, getsizeof=lambda value: value.nbytes + ENTRY_BYTES)
        self.max_bytes = max_bytes
        self._max_entries = max_entries

    @property
    def is_off(self) -> bool:
        return not self.max_bytes or not self._max_entries

    def __setitem__(self, key: bytes, value: np.ndarray) -> None:
        if not self.is_off and self.getsizeof(value) <= self.max_bytes:  # one too large would evict all others
            super().__setitem__(key, value)
            self.evict()

    def evict(self) -> None:
        while self.currsize > self.max_bytes or len(self) > self._max_entries:
            self.popitem()


def text_digest(text: str) -> bytes:
    """Return ``digest`` of one text. Recent results for texts of usual length are cached, since searches find the same products again."""
    return _cached_digest(text) if text.__sizeof__() <= _DIGESTED_BYTES else digest([text])


@lru_cache(_DIGESTS)
def _cached_digest(text: str) -> bytes:
    return digest([text])


def digest(texts: Sequence[str]) -> bytes:
    """Return a key of 16 bytes for a sequence of texts."""
    hashed = blake2b(digest_size=16)
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        hashed.update(len(encoded).to_bytes(4, "little"))  # without it ("ab", "c") and ("a", "bc") would share a key
        hashed.update(encoded)
    return hashed.digest()
