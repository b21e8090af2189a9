"""What can label pairs: a teacher, or anything with its one method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from reranker.products import Product


class Labeller(Protocol):
    """Anything that gives grade distributions; ``Teacher`` is one."""

    def distributions(self, pairs: Sequence[tuple[str, Product]], *, tokens_per_batch: int, on_pairs: Callable[[int], None] | None) -> np.ndarray: ...
