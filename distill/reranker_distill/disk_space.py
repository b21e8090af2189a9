"""Disk space: an estimate before a run begins, and a clear error when the disk fills up."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reranker.errors import RerankerError

_STUDENT_BYTES = 0.7e9
"""Of each student: training states, exports in every precision, bundles."""

_PRODUCT_BYTES = 2_000
"""A product's vector and its part of the index, beside its text."""

_FULL_BYTES = 100_000_000
"""With less room than this, a failed write of a training state means a full disk."""


def estimate_run_bytes(*, students: int, products: int, catalog_bytes: int, teacher_bytes: int, lora: bool) -> int:
    """Estimate the disk space of a run at its largest.

    Args:
        students: how many students are trained.
        products: how many the catalogue holds; ``catalog_bytes`` is the size of its file.
        teacher_bytes: size of the teacher's checkpoint; 0 where none has to be trained.
        lora: whether the teacher is trained with LoRA.
    """
    # A teacher leaves its merged weights; without LoRA, also two training states of weights and Adam's two moments while one replaces the other.
    teacher = teacher_bytes * (1.2 if lora else 1 + 2 * 3)
    return round(_STUDENT_BYTES * students + 6.0 * catalog_bytes + products * _PRODUCT_BYTES + teacher)


def folder_bytes(folder: Path) -> int:
    """Return the size of the files in a folder; 0 where there is none."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0


def free_bytes(folder: Path) -> int:
    """Return the free space on the disk of a folder, which need not exist yet."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    return shutil.disk_usage(existing).free


def check_disk_space(folder: Path, need: int) -> None:
    """Check that the disk of a folder, which need not exist yet, has room for ``need`` bytes.

    Raises:
        RerankerError: it has not.
    """
    free = free_bytes(folder)
    if free < need:
        raise RerankerError(
            f"The run needs about {need / 1e9:.1f} GB in {folder}, and that disk has {free / 1e9:.1f} GB free.",
            hint="Free some space, or give a folder on another disk with --run.",
        )


@contextmanager
def explain_full_disk(task: str, folder: Path) -> Iterator[None]:
    """Turn the error of a full disk into one that says what stopped where.

    Raises:
        RerankerError: the disk is full.
    """
    try:
        yield
    except Exception as error:
        if not _is_full_disk(error, folder):
            raise
        raise RerankerError(
            f"The disk is full: {task} stopped in {folder}.",
            hint="Free some space and run the same command: it resumes there. Outputs of other recipes are in the run's folder earlier.",
        ) from error


def _is_full_disk(error: Exception, folder: Path) -> bool:
    """Whether an error is a full disk's. torch only says that a write failed; safetensors has the number in its text."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOSPC
    if "No space left on device" in str(error):
        return True
    return isinstance(error, RuntimeError) and "file write failed" in str(error) and free_bytes(folder) < _FULL_BYTES
