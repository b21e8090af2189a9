"""Files and folders that are replaced only once the new version is complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``target`` that replaces it at the end. After an error the old folder is unchanged."""
    staging = target.with_name(f".{target.name}.{os.getpid()}")
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir(parents=True)
        yield staging
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            target.rename(old)
        staging.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Yield a path beside ``target``, with its suffix, whose file replaces it at the end. After an error the old file is unchanged."""
    staging = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        yield staging
        staging.replace(target)
    finally:
        staging.unlink(missing_ok=True)


def copy_files(source: Path, target: Path) -> None:
    """Copy the files below a folder into an existing one. Errors keep their number, unlike those of ``shutil.copytree``."""
    for path in sorted(source.rglob("*")):
        if path.is_file():
            (target / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / path.relative_to(source))


def cache_folder() -> Path:
    """Return the folder for data kept between commands: $RERANKER_HOME, or ~/.cache/distilled-reranker."""
    return Path(os.environ.get("RERANKER_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "distilled-reranker")
