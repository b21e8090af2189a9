"""A model's folder, sent to a cluster's nodes that need not share a disk with this machine."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from reranker.folders import cache_folder, whole_folder

_CHUNK = 256 << 20
"""Bytes sent as one object: a model of many gigabytes is never in memory as a whole."""


class Stamp(NamedTuple):
    """Identifies a file of a model's folder: name, bytes, time of writing in nanoseconds."""

    name: str
    size: int
    written_ns: int


class ShippedTeacher(NamedTuple):
    """The folder's path where it was packed, its files' stamps, and the files in chunks; no chunks where all nodes can read the folder."""

    path: Path
    stamps: tuple[Stamp, ...]
    chunks: tuple[tuple[Any, ...], ...]

    def folder(self, get: Callable[[Any], bytes]) -> Path:
        """Return the folder on this machine: the one it was packed from, if it is here, or a copy that is unpacked once.

        Args:
            get: returns the bytes of what ``put`` returned.

        Raises:
            OSError: the copy cannot be written.
        """
        if (self.path.is_dir() and stamps_of(self.path) == self.stamps) or not self.chunks:
            return self.path
        key = hashlib.sha256(json.dumps(self.stamps).encode()).hexdigest()[:16]
        copies = cache_folder() / "teachers"
        copies.mkdir(parents=True, exist_ok=True)
        with (copies / f".{key}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the other workers of this machine wait for the first
            if not (copies / key).is_dir():
                with whole_folder(copies / key) as staging:
                    for stamp, chunks in zip(self.stamps, self.chunks, strict=True):
                        with (staging / stamp.name).open("wb") as file:
                            for chunk in chunks:
                                file.write(get(chunk))
        return copies / key


def stamps_of(folder: Path) -> tuple[Stamp, ...]:
    """Return the stamps of the files directly in a folder, by name."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
    return tuple(Stamp(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files)


def ship(folder: Path, put: Callable[[bytes], Any] | None) -> ShippedTeacher:
    """Pack a model's folder by giving chunks of its files to ``put``; None: all nodes can read the folder, and nothing is packed."""
    path, stamps = folder.resolve(), stamps_of(folder)
    return ShippedTeacher(path, stamps, tuple(tuple(put(chunk) for chunk in _chunks(path / s.name)) for s in stamps) if put else ())


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
