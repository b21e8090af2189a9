"""Product vectors computed at indexing time and stored in files, so that no search waits for them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from reranker.cache import digest
from reranker.errors import InputError
from reranker.folders import whole_file

PART = 2_000
"""Products per file: an interruption loses at most these."""


class StoredVectors:
    """Vectors by the digest of their text, in memory-mapped files: processes share them, and opening reads only the keys.

    Args:
        parts: structured arrays of ``key`` (two unsigned 64-bit numbers) and ``vector`` (float16, (width,)).
            If a key is in several parts, the earlier part is used.
    """

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        self._parts = [part for part in parts if len(part)]
        keys = np.concatenate([part["key"] for part in self._parts]) if self._parts else np.zeros((0, 2), dtype="<u8")
        order = np.argsort(keys[:, 0], kind="stable")
        first = np.ones(len(order), dtype=bool)
        first[1:] = (keys[order][1:] != keys[order][:-1]).any(axis=1)
        self._order = order[first]
        self._keys = keys[self._order]
        self._starts = np.cumsum([0, *(len(part) for part in self._parts)])

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, keys: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Return which keys are stored, bool (n,), and their vectors, float32 (stored, width)."""
        if not len(self._keys) or not keys:
            return np.zeros(len(keys), dtype=bool), np.zeros((0, 0), dtype=np.float32)
        wanted = np.frombuffer(b"".join(keys), dtype="<u8").reshape(-1, 2)
        at = np.minimum(np.searchsorted(self._keys[:, 0], wanted[:, 0]), len(self._keys) - 1)
        known = (self._keys[at] == wanted).all(axis=1)
        rows = self._order[at[known]]
        part_of = np.searchsorted(self._starts, rows, side="right") - 1
        found = np.empty((len(rows), self._parts[0]["vector"].shape[1]), dtype=np.float32)
        for number in np.unique(part_of):
            here = part_of == number
            found[here] = self._parts[number]["vector"][rows[here] - self._starts[number]]
        return known, found


def open_vectors(folder: Path, width: int | None = None) -> StoredVectors:
    """Open the vectors in a folder; a missing folder holds none.

    Raises:
        InputError: a file does not hold vectors, or not of ``width`` dimensions where that is given.
    """
    parts = []
    for path in sorted(folder.glob("part-*.npy")):
        try:
            part = np.load(path, mmap_mode="r")
            usable = part.ndim == 1 and part.dtype.names == ("key", "vector") and width in (None, part["vector"].shape[1])
        except (OSError, EOFError, ValueError, IndexError) as error:
            raise InputError(f"The product vectors {path} cannot be read: {error}", hint="Delete that file and run `reranker vectors` again.") from error
        if not usable:
            raise InputError(f"{path} does not hold this bundle's product vectors.", hint="Delete that file and run `reranker vectors` again.")
        parts.append(part)
    return StoredVectors(parts)


def store_vectors(folder: Path, encode: Callable[[Sequence[str]], np.ndarray], texts: Iterable[str], *, on_texts: Callable[[int], None] | None = None) -> int:
    """Compute the vectors of product texts that the folder lacks, and return how many those were.

    Files are written whole, so an interrupted run can be continued. Vectors of texts that no product has any more stay;
    delete the folder to start again.

    Args:
        encode: returns vectors of texts, float16 (n, width).
        on_texts: called with the number of further texts done.

    Raises:
        InputError: a file in the folder cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stored = open_vectors(folder)
    computed = 0
    seen: set[bytes] = set()
    remaining = iter(texts)
    while batch := list(islice(remaining, PART)):
        keys = [digest([text]) for text in batch]
        known, _ = stored.find(keys)
        new = {key: text for key, text, found in zip(keys, batch, known, strict=True) if not found and key not in seen}
        if new:
            _write_part(folder / f"part-{uuid.uuid4().hex}.npy", list(new), encode(list(new.values())))
            computed += len(new)
            seen |= new.keys()
        if on_texts:
            on_texts(len(batch))
    return computed


def _write_part(path: Path, keys: Sequence[bytes], vectors: np.ndarray) -> None:
    part = np.empty(len(keys), dtype=[("key", "<u8", 2), ("vector", "<f2", vectors.shape[1])])
    part["key"] = np.frombuffer(b"".join(keys), dtype="<u8").reshape(-1, 2)
    part["vector"] = vectors
    with whole_file(path) as staging:
        np.save(staging, part)
