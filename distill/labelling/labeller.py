"""What can label pairs: a fine-tuned teacher, loaded from its folder, or anything with its one method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from distill.recipe import Precision
from reranker.products import Product


class Labeller(Protocol):
    """Anything that gives grade distributions; ``Teacher`` is one."""

    def distributions(self, pairs: Sequence[tuple[str, Product]], *, tokens_per_batch: int, on_pairs: Callable[[int], None] | None) -> np.ndarray: ...


def load_labeller(folder: Path, precision: Precision | None = None) -> Any:
    """Return the teacher kept in ``folder``, ready to label; without ``precision`` as it was trained (``teacher.bf16``)."""
    from distill.teacher import load_teacher

    return load_teacher(folder, precision)
