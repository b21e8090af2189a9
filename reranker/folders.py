"""Files and folders that are replaced only once the new version is complete."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reranker.errors import StorageError


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``target`` that replaces it at the end. After an error the old folder is unchanged.

    One process at a time writes a folder; others wait. What a killed process left is put in order first, as ``recover`` does.
    """
    with _locked(target):
        staging, old, copy = _beside(target)
        _put_in_order(target)
        try:
            staging.mkdir(parents=True)
            yield staging
            if target.exists():
                try:
                    target.rename(old)
                except OSError as error:
                    if error.errno != errno.EXDEV:  # overlayfs: the folder comes from an image
                        raise
                    shutil.copytree(target, copy, symlinks=True)
                    copy.rename(old)
                    shutil.rmtree(target)
            staging.rename(target)
            if old.exists():
                old.rename(staging)  # from here on the new version counts
        finally:
            _put_in_order(target)


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Yield a path beside ``target``, with its suffix, whose file replaces it at the end. After an error the old file is unchanged."""
    with _locked(target):
        staging = target.with_name(f".{target.stem}.new{target.suffix}")
        try:
            yield staging
            staging.replace(target)
        finally:
            staging.unlink(missing_ok=True)


def recover(target: Path) -> None:
    """Put back the folder if a process was killed while ``whole_folder`` replaced it, and remove what it left.

    Nothing is done while a process writes the folder, nor where nothing may be written.
    """
    _, old, _ = beside = _beside(target)
    with suppress(OSError):
        while any(left.exists() for left in (*beside, _lock_of(target))):
            try:
                with _locked(target, wait=False):
                    _put_in_order(target)
                return
            except BlockingIOError:
                if target.exists() or not old.exists():
                    return
                time.sleep(0.01)  # it is between two renames


def _beside(target: Path) -> tuple[Path, Path, Path]:
    """Return the paths of a folder's next version while it is written, of its last one while it is replaced, and of a copy that is being made of that."""
    return target.with_name(f".{target.name}.new"), target.with_name(f".{target.name}.previous"), target.with_name(f".{target.name}.copy")


def _lock_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.writing")


def _put_in_order(target: Path) -> None:
    """Restore the last version if it was being replaced, and remove the rest. To be called by the process that has the lock."""
    staging, old, copy = _beside(target)
    if old.exists():
        _remove(target)
        old.rename(target)
    _remove(staging)
    _remove(copy)


def _remove(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(target: Path, *, wait: bool = True) -> Iterator[None]:
    """Keep other processes and threads from writing ``target``, on whatever machine that shares its folder. A killed process's lock is gone with it.

    Raises:
        BlockingIOError: another one writes it, and ``wait`` is False.
    """
    path = _lock_of(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _is_at(path, lock.fileno()):  # the process before removed it
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        with path.open("rb") as found:  # opened, since network file systems answer ``stat`` from a cache
            return os.path.sameopenfile(found.fileno(), descriptor)
    except FileNotFoundError:
        return False


@contextmanager
def explain_unwritten(what: str, where: Path, hint: str) -> Iterator[None]:
    """Turn the error of a full disk or an unwritable folder into one that says what could not be written where.

    Raises:
        StorageError: writing failed.
    """
    try:
        yield
    except BrokenPipeError:  # of the terminal's output
        raise
    except OSError as error:
        raise StorageError(f"{what} cannot be written to {where}: {error.strerror or error}.", hint=hint) from error


def copy_files(source: Path, target: Path) -> None:
    """Copy the files below a folder into an existing one. Errors keep their number, unlike those of ``shutil.copytree``."""
    for path in sorted(source.rglob("*")):
        if path.is_file():
            (target / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / path.relative_to(source))


def cache_folder() -> Path:
    """Return the folder for data kept between commands: $RERANKER_HOME, or ~/.cache/distilled-reranker."""
    return Path(os.environ.get("RERANKER_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "distilled-reranker")
