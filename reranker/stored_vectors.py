"""Product vectors computed at indexing time: files beside an index, so that no searcher waits for a product that is new to the service."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np

from reranker.cache import digest
from reranker.errors import InputError
from reranker.folders import whole_file

PART = 2_000
"""Products in one file; what an interruption loses at most."""


class Encoder(Protocol):
    """What makes vectors; ``VectorScorer`` is one."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return vectors of texts, float16 (n, width)."""
        ...


class StoredVectors:
    """Vectors by their text's key, in memory-mapped files: several processes share them, and starting reads only their keys.

    Args:
        parts: each a structured array of ``key`` (two unsigned 64-bit numbers) and ``vector`` (float16, (width,)).
    """

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        self._parts = [part for part in parts if len(part)]
        keys = np.concatenate([part["key"] for part in self._parts]) if self._parts else np.zeros((0, 2), dtype="<u8")
        self._order = np.argsort(keys[:, 0], kind="stable")
        self._keys = keys[self._order]
        self._starts = np.cumsum([0, *(len(part) for part in self._parts)])

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, keys: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Return which keys are known, bool (n,), and those keys' vectors, float32 (known, width)."""
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
    """Open the vectors in a folder; none are there where there is no such folder.

    Raises:
        InputError: a file is not one of vectors, or (where ``width`` is given) of vectors of another width.
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


def store_vectors(folder: Path, encoder: Encoder, texts: Iterable[str], *, on_texts: Callable[[int], None] | None = None) -> int:
    """Compute the vectors of product texts that the folder does not hold yet, and return how many those were.

    A file is whole when it is there, so an interrupted run goes on where it was. Vectors of texts that no product has any
    more stay; remove the folder to begin anew.

    Args:
        on_texts: told how many more texts have their vector.

    Raises:
        InputError: what the folder holds cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stored = open_vectors(folder)
    made = 0
    seen: set[bytes] = set()
    left = iter(texts)
    while batch := list(islice(left, PART)):
        keys = [digest([text]) for text in batch]
        known, _ = stored.find(keys)
        new = {key: text for key, text, there in zip(keys, batch, known, strict=True) if not there and key not in seen}
        if new:
            _write_part(folder / f"part-{uuid.uuid4().hex}.npy", list(new), encoder.encode(list(new.values())))
            made += len(new)
            seen |= new.keys()
        if on_texts:
            on_texts(len(batch))
    return made


def _write_part(path: Path, keys: Sequence[bytes], vectors: np.ndarray) -> None:
    part = np.empty(len(keys), dtype=[("key", "<u8", 2), ("vector", "<f2", vectors.shape[1])])
    part["key"] = np.frombuffer(b"".join(keys), dtype="<u8").reshape(-1, 2)
    part["vector"] = vectors
    with whole_file(path) as staging:
        np.save(staging, part)
