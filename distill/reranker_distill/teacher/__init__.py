"""The teacher: a large model that grades (query, product) pairs with a probability for each grade.

Fine-tuned on judgments (a decoder LLM with LoRA, an encoder with all its weights), or asked zero-shot through an endpoint.
Source: arXiv 2505.07105.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from reranker.errors import RecipeError
from reranker.products import Product

Precision = Literal["float32", "bfloat16"]


class Labeller(Protocol):
    """Anything that gives grade distributions; ``Teacher`` is one."""

    def distributions(self, pairs: Sequence[tuple[str, Product]], *, on_pairs: Callable[[int], None] | None) -> np.ndarray:
        """Return float32 (n, grades); ``on_pairs`` is called with the number done."""
        ...


@runtime_checkable
class WithCheckpoint(Labeller, Protocol):
    """A labeller that reads its model from a folder, which is sent to machines that do not have it."""

    def checkpoint(self) -> Path | None:
        """Return the folder, or None where every machine can load the model by its name."""
        ...

    def with_checkpoint(self, folder: Path) -> Labeller:
        """Return the same labeller with its model in another folder."""
        ...


class Teacher(Protocol):
    """Every kind of teacher; grades count from 0, the worst."""

    def distributions(self, pairs: Sequence[tuple[str, Product]], *, on_pairs: Callable[[int], None] | None = None) -> np.ndarray:
        """Return the grade distributions of (query, product) pairs: float32 (n, grades)."""
        ...

    def relevance(self, query: str, products: Sequence[Product]) -> np.ndarray:
        """Return the expected grade of each product, scaled to 0–1: float32 (n,)."""
        ...


def load_teacher(folder: Path, precision: Precision | None = None) -> Teacher:
    """Return the teacher that a run's teacher stage left in a folder, ready to label; a fine-tuned one as it was trained, or in ``precision``.

    Raises:
        RecipeError: there is none, or its model cannot be loaded.
    """
    from reranker_distill.teacher import zero_shot

    try:
        if (folder / zero_shot.SETTINGS).is_file():
            return zero_shot.ZeroShotTeacher(folder)
        from reranker_distill.teacher.fine_tuned import FineTunedTeacher

        return FineTunedTeacher(folder, precision)
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise RecipeError(f"There is no teacher in {folder}: {error}", hint="Give the folder 1-teacher of a run that has finished that stage.") from error
