"""Product vectors computed at indexing time and stored in files, so that no search waits for them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np

from reranker.cache import digest
from reranker.errors import InputError
from reranker.folders import whole_file

PART = 2_000
"""Products per file: an interruption loses at most these."""
CHECKSUMS = "checksums.json"
"""File name → CRC-32 of the file in hex. It finds damage, and is read three times as fast as SHA-256."""

_CHECKSUMS_BYTES = 16 * 1024 * 1024
_NOT_FINITE = 0x7C00
"""The smallest bits, without the sign, of a float16 that is infinite or NaN."""


class Part(NamedTuple):
    """A file's keys, two unsigned 64-bit numbers each, (n, 2), in memory; and its vectors, float16 (n, width), memory-mapped."""

    keys: np.ndarray
    vectors: np.ndarray


class StoredVectors:
    """Vectors by the digest of their text, in memory-mapped files: processes share them, and only vectors that are looked up are in memory.

    Args:
        parts: if a key is in several parts, the earlier part is used.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = [part.vectors for part in parts if len(part.keys)]
        keys = np.concatenate([part.keys for part in parts if len(part.keys)]) if self._parts else np.zeros((0, 2), dtype="<u8")
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
        found = np.empty((len(rows), self._parts[0].shape[1]), dtype=np.float32)
        for number in np.unique(part_of):
            here = part_of == number
            found[here] = self._parts[number][rows[here] - self._starts[number]]
        return known, found


def open_vectors(folder: Path, width: int | None = None) -> StoredVectors:
    """Open the vectors in a folder, and check its files against their checksums; a missing folder holds none.

    A file without a checksum is of an earlier release, or of a run that was killed: it is used as it is.

    Raises:
        InputError: a file is missing, was changed, or does not hold finite vectors, or not of ``width`` dimensions where that is given.
    """
    checksums = _read_checksums(folder)
    for name in checksums:
        if not (folder / name).exists():
            raise InputError(f"The product vectors {folder / name} are missing.", hint="Run `reranker vectors` again: it computes them anew.")
    return StoredVectors(_read_parts(folder, checksums, width))


def _read_parts(folder: Path, checksums: dict[str, str], width: int | None = None) -> list[Part]:
    """Return the parts in a folder. Those without a checksum are given one in ``checksums``."""
    parts = []
    for path in sorted(folder.glob("part-*.npy")):
        try:
            if not path.is_file():
                raise ValueError("it is not a regular file")
            part = np.lib.format.open_memmap(path, mode="r")
            shape = part.dtype["vector"].shape if part.dtype.names == ("key", "vector") else ()
            width = width or (shape[0] if len(shape) == 1 else 0)
            if part.ndim != 1 or not width or part.dtype != _record(width):
                raise _damaged(f"{path} does not hold this bundle's product vectors.")
            checksum, keys, finite = _read_through(path, part)
        except Exception as error:  # NumPy raises many kinds
            if isinstance(error, InputError):
                raise
            raise _damaged(f"The product vectors {path} cannot be read: {error}") from error
        if checksums.setdefault(path.name, checksum) != checksum:
            raise _damaged(f"The product vectors {path} were changed after they were written: the checksum differs.")
        if not finite:
            raise _damaged(f"The product vectors {path} hold values that are not finite numbers.")
        parts.append(Part(keys, part["vector"]))
    return parts


def _damaged(message: str) -> InputError:
    return InputError(message, hint="Delete that file and run `reranker vectors` again.")


def _read_through(path: Path, part: np.memmap) -> tuple[str, np.ndarray, bool]:
    """Return the checksum of a part's file, its keys, and whether all vectors are finite. It is read in pieces, since mapped pages count as memory."""
    keys, finite = [np.zeros((0, 2), dtype="<u8")], True
    with path.open("rb") as file:
        checksum = crc32(file.read(part.offset))
        while piece := file.read(PART * part.itemsize):
            checksum = crc32(piece, checksum)
            whole = len(piece) // part.itemsize * part.itemsize
            records = np.frombuffer(piece[:whole], dtype=part.dtype)
            keys.append(records["key"].copy())
            vectors = records["vector"].view("<u2")
            finite = finite and bool((vectors & 0x7FFF).max(initial=0) < _NOT_FINITE)  # without the sign
    return f"{checksum:08x}", np.concatenate(keys), finite


def _read_checksums(folder: Path) -> dict[str, str]:
    path = folder / CHECKSUMS
    if not path.exists():
        return {}
    try:
        if not path.is_file() or path.stat().st_size > _CHECKSUMS_BYTES:
            raise ValueError("it is no file of this project")
        checksums = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(checksums, dict) or not all(isinstance(value, str) and Path(name).name == name for name, value in checksums.items()):
            raise ValueError("it does not hold names and checksums")
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(f"The checksums {path} cannot be read: {error}") from error
    return checksums


def _write_checksums(folder: Path, checksums: dict[str, str]) -> None:
    with whole_file(folder / CHECKSUMS) as staging:
        staging.write_text(json.dumps(checksums, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def store_vectors(folder: Path, encode: Callable[[Sequence[str]], np.ndarray], texts: Iterable[str], *, on_texts: Callable[[int], None] | None = None) -> int:
    """Compute the vectors of product texts that the folder lacks, and return how many those were.

    Files are written whole, so an interrupted run can be continued. Files that lack a checksum get one; missing ones are computed anew.
    Vectors of texts that no product has any more stay; delete the folder to start again.

    Args:
        encode: returns vectors of texts, float16 (n, width).
        on_texts: called with the number of further texts done.

    Raises:
        InputError: a file in the folder cannot be read or was changed, or a computed vector is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listed = _read_checksums(folder)
    checksums = {name: value for name, value in listed.items() if (folder / name).exists()}
    stored = StoredVectors(_read_parts(folder, checksums))
    if checksums != listed:
        _write_checksums(folder, checksums)
    computed = 0
    seen: set[bytes] = set()
    remaining = iter(texts)
    while batch := list(islice(remaining, PART)):
        keys = [digest([text]) for text in batch]
        known, _ = stored.find(keys)
        new = {key: text for key, text, found in zip(keys, batch, known, strict=True) if not found and key not in seen}
        if new:
            name = f"part-{uuid.uuid4().hex}.npy"
            checksums[name] = _write_part(folder / name, list(new), encode(list(new.values())))
            _write_checksums(folder, checksums)
            computed += len(new)
            seen |= new.keys()
        if on_texts:
            on_texts(len(batch))
    return computed


def _record(width: int) -> np.dtype:
    return np.dtype([("key", "<u8", 2), ("vector", "<f2", width)])


def _write_part(path: Path, keys: Sequence[bytes], vectors: np.ndarray) -> str:
    """Write a part and return its checksum."""
    if not np.isfinite(vectors).all():
        raise InputError("The bundle gives vectors that are not finite numbers.", hint="Check it: reranker bundle verify DIR")
    part = np.empty(len(keys), dtype=_record(vectors.shape[1]))
    part["key"] = np.frombuffer(b"".join(keys), dtype="<u8").reshape(-1, 2)
    part["vector"] = vectors
    with whole_file(path) as staging:
        np.save(staging, part)
        return _read_through(staging, np.lib.format.open_memmap(staging, mode="r"))[0]
