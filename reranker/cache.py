"""What was computed and is kept: the least lately used gives way, and what several ask for at once is computed once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import numpy as np


class CacheState(NamedTuple):
    """What a cache holds now, and how often it was asked since the process began; ``bytes`` are those of the values."""

    entries: int
    bytes: int
    hits: int
    misses: int


class Cache:
    """Arrays by key. Safe to share between threads.

    Args:
        most: how many entries are kept; 0 keeps none, and computes what several ask for at once as often as they ask.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: OrderedDict[bytes, np.ndarray] = OrderedDict()
        self._making: dict[bytes, Future[np.ndarray]] = {}
        self._lock = threading.Lock()
        self._bytes = self._hits = self._misses = 0

    def known(self, keys: Iterable[bytes]) -> dict[bytes, np.ndarray]:
        """Return the entries there are of these keys; each key counts as a hit or a miss."""
        found: dict[bytes, np.ndarray] = {}
        with self._lock:
            for key in keys:
                value = self._entries.get(key)
                if value is None:
                    self._misses += 1
                else:
                    self._hits += 1
                    self._entries.move_to_end(key)
                    found[key] = value
        return found

    def keep(self, made: Mapping[bytes, np.ndarray]) -> None:
        """Add entries; those least lately used give way."""
        with self._lock:
            self._keep(made)

    def _keep(self, made: Mapping[bytes, np.ndarray]) -> None:
        for key, value in made.items():
            before = self._entries.get(key)
            self._bytes += value.nbytes - (0 if before is None else before.nbytes)
            self._entries[key] = value
        while len(self._entries) > self._most:
            self._bytes -= self._entries.popitem(last=False)[1].nbytes

    def get(self, key: bytes, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the entry, made and kept where there is none. Who asks while another thread makes it waits for that, and counts as a hit.

        Where the other fails, each makes it itself. The array is shared: nobody may write to it.
        """
        if self._most == 0:
            return make()
        with self._lock:
            value = self._entries.get(key)
            other = self._making.get(key)
            if value is None and other is None:
                self._misses += 1
                mine = self._making[key] = Future()
            else:
                self._hits += 1
                if value is not None:
                    self._entries.move_to_end(key)
                    return value
        if other is not None:
            try:
                return other.result()
            except Exception:  # its maker was told; this one has its own try
                return make()
        try:
            made = make()
        except BaseException as error:
            with self._lock:
                del self._making[key]
            mine.set_exception(error)
            raise
        with self._lock:
            del self._making[key]
            self._keep({key: made})
        mine.set_result(made)
        return made

    def __contains__(self, key: bytes) -> bool:
        """Say whether there is an entry; not counted."""
        with self._lock:
            return key in self._entries

    def forget(self) -> None:
        """Drop all entries; what was counted stays."""
        with self._lock:
            self._entries.clear()
            self._bytes = 0

    def state(self) -> CacheState:
        with self._lock:
            return CacheState(len(self._entries), self._bytes, self._hits, self._misses)


@lru_cache(10_000)
def text_digest(text: str) -> bytes:
    """Return ``digest`` of one text; those of texts that were asked for lately are kept, since searches find the same products again and again."""
    return digest([text])


def digest(texts: Sequence[str]) -> bytes:
    """Return a key of 16 bytes for texts in this order: a long text takes no more memory than a short one."""
    hashed = blake2b(digest_size=16)
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        hashed.update(len(encoded).to_bytes(4, "little"))  # else ("ab", "c") would be ("a", "bc")
        hashed.update(encoded)
    return hashed.digest()
