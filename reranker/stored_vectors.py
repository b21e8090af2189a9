"""Product vectors computed at indexing time: files beside an index, so that no searcher waits for a product that is new to the service."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np

from reranker.cache import digest
from reranker.errors import InputError
from reranker.folders import whole_file
from reranker.neighbourhoods import Neighbourhoods, lean_on_neighbours

PART = 2_000
"""Products in one file; what an interruption loses at most."""

_OWN, _LEANT = "part-*.npy", "neighbours-*.npy"
"""Files of the vectors that texts have by themselves, and of those that lean on their neighbours', which are looked up first."""


class Encoder(Protocol):
    """What makes vectors; ``BiEncoder`` is one."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return vectors of texts, float16 (n, width)."""
        ...


class StoredVectors:
    """Vectors by their text's key, in memory-mapped files: several processes share them, and starting reads only their keys.

    Args:
        parts: each a structured array of ``key`` (two unsigned 64-bit numbers) and ``vector`` (float16, (width,), or int8 with
            a ``scale``, float32, that each is multiplied by). Of two vectors of one key, that of the earlier part counts.
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
            part = self._parts[number][rows[here] - self._starts[number]]
            found[here] = part["vector"]
            if "scale" in part.dtype.names:
                found[here] *= part["scale"][:, None]
        return known, found


def open_vectors(folder: Path, width: int | None = None) -> StoredVectors:
    """Open the vectors in a folder; none are there where there is no such folder.

    Raises:
        InputError: a file is not one of vectors, or (where ``width`` is given) of vectors of another width.
    """
    return StoredVectors([*_parts(folder, _LEANT, width), *_parts(folder, _OWN, width)])


def _parts(folder: Path, pattern: str, width: int | None = None) -> list[np.ndarray]:
    parts = []
    for path in sorted(folder.glob(pattern)):
        try:
            part = np.load(path, mmap_mode="r")
            usable = part.ndim == 1 and part.dtype.names in (("key", "vector"), ("key", "vector", "scale")) and width in (None, part["vector"].shape[1])
        except (OSError, EOFError, ValueError, IndexError) as error:
            raise InputError(f"The product vectors {path} cannot be read: {error}", hint="Delete that file and run `reranker vectors` again.") from error
        if not usable:
            raise InputError(f"{path} does not hold this bundle's product vectors.", hint="Delete that file and run `reranker vectors` again.")
        parts.append(part)
    return parts


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
    stored = StoredVectors(_parts(folder, _OWN))
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


def store_leant(
    folder: Path,
    texts: Sequence[str],
    attribute_names: np.ndarray,
    neighbourhoods: Neighbourhoods,
    *,
    on_texts: Callable[[int], None] | None = None,
) -> None:
    """Mix the vectors that ``store_vectors`` left with their neighbours' (``lean_on_neighbours``).

    Neighbours are sought among the texts given; vectors of other texts that leant on their neighbours before are kept. What
    is there already of the same products is not computed again. The file is replaced whole: an interruption leaves the one before.

    Args:
        attribute_names: of the texts' products, from ``sketch_attribute_names``.
        on_texts: told how many more texts are done.

    Raises:
        InputError: what the folder holds cannot be read.
    """
    if not texts:
        return
    rows = {digest([text]): row for row, text in reversed(list(enumerate(texts)))}  # of equal texts, the first product's attributes
    keys = np.frombuffer(b"".join(rows), dtype="<u8").reshape(-1, 2)
    named = attribute_names[list(rows.values())]
    made_of = blake2b(repr(neighbourhoods).encode() + keys.tobytes() + named.tobytes(), digest_size=8).hexdigest()
    target = folder / f"neighbours-{made_of}.npy"
    if not target.is_file():
        before = _parts(folder, _LEANT)
        known, own = StoredVectors(_parts(folder, _OWN)).find(list(rows))
        if not known.all():
            raise InputError(f"{folder} lacks vectors of {(~known).sum():,} products.", hint="Delete the folder and run `reranker vectors` again.")
        leant = lean_on_neighbours(own, named, neighbourhoods, on_products=on_texts)
        kept = [part[[bytes(key) not in rows for key in part["key"]]] for part in before]
        with whole_file(target) as staging:
            np.save(staging, np.concatenate([_in_int8(keys, leant), *kept]))
        for path in set(folder.glob(_LEANT)) - {target}:
            path.unlink(missing_ok=True)
    elif on_texts:
        on_texts(len(rows))


def _in_int8(keys: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return a part of vectors in int8, each with a scale of its own: half of float16's size, and the same order of hits."""
    part = np.empty(len(keys), dtype=[("key", "<u8", 2), ("vector", "i1", vectors.shape[1]), ("scale", "<f4")])
    scales = np.maximum(np.abs(vectors).max(axis=1), 1e-9) / 127
    part["key"], part["scale"] = keys, scales
    part["vector"] = np.rint(vectors / scales[:, None])
    return part
