"""Whether a run fits on its disk, found out before it begins."""

from __future__ import annotations

import shutil
from pathlib import Path

from reranker.errors import RerankerError
from reranker_distill.recipe import Recipe

_VARIANT_BYTES = 0.7e9
"""Of each student: training states, exports in every precision, bundles."""

_PRODUCT_BYTES = 2_000
"""A product's vector and its place in the index, beside its text."""


def bytes_needed(recipe: Recipe, *, products: int, catalog_bytes: int, teacher_bytes: int) -> int:
    """Estimate what a run takes of the disk at its largest.

    Args:
        products: how many the catalogue holds; ``catalog_bytes``: the size of its file.
        teacher_bytes: size of the teacher's checkpoint; 0 where it is trained already.
    """
    need = _VARIANT_BYTES * (1 + len(recipe.variants)) + 6.0 * catalog_bytes + products * _PRODUCT_BYTES
    if recipe.learns_from_judgments:
        # The merged weights and, with all of them trained, two training states of weights and Adam's two moments while one replaces the other.
        need += teacher_bytes * (1.2 if recipe.teacher.lora_rank else 1 + 2 * 3)
    return round(need)


def folder_bytes(folder: Path) -> int:
    """Return the size of the files in a folder; 0 where there is none."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0


def free_bytes(folder: Path) -> int:
    """Return the room on the disk of a folder, which need not exist yet."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    return shutil.disk_usage(there).free


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
