"""What can label pairs: a teacher, or anything with its one method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from reranker.products import Product


class Labeller(Protocol):
    """Anything that gives grade distributions; ``Teacher`` is one."""

    def distributions(self, pairs: Sequence[tuple[str, Product]], *, on_pairs: Callable[[int], None] | None) -> np.ndarray: ...


@runtime_checkable
class WithCheckpoint(Labeller, Protocol):
    """A labeller that reads its model from a folder, which is sent to machines that do not have it."""

    def checkpoint(self) -> Path | None:
        """Return the folder, or None where every machine can load the model by its name."""
        ...

    def with_checkpoint(self, folder: Path) -> Labeller:
        """Return the same labeller with its model in another folder."""
        ...
