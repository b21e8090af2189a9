"""The teacher: a large model that grades (query, product) pairs with a probability for each grade.

Fine-tuned on judgments (a decoder LLM with LoRA, an encoder with all its weights), or asked zero-shot through an endpoint.
Source: arXiv 2505.07105.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from reranker.errors import RecipeError
from reranker.judgments import Judgment
from reranker.products import Product
from reranker.text import ProductTemplate
from reranker_distill.recipe import Teacher as TeacherSettings

Precision = Literal["float32", "bfloat16"]


class Teacher(Protocol):
    """Every kind of teacher; grades count from 0, the worst."""

    def distributions(self, pairs: Sequence[tuple[str, Product]], *, on_pairs: Callable[[int], None] | None = None) -> np.ndarray:
        """Return the grade distributions of (query, product) pairs: float32 (n, grades)."""
        ...

    def relevance(self, query: str, products: Sequence[Product]) -> np.ndarray:
        """Return the expected grade of each product, scaled to 0–1: float32 (n,)."""
        ...


def train_teacher(
    judgments: Sequence[Judgment],
    products: Mapping[str, Product],
    *,
    checkpoint: str,
    settings: TeacherSettings,
    template: ProductTemplate,
    seed: int,
    folder: Path,
) -> dict[str, Any]:
    """Make the teacher in ``folder``: fine-tune it, or, zero-shot, save its settings and ask it once; returns the stage's report.

    Raises:
        RecipeError: the checkpoint cannot be loaded.
        LanguageModelError: the endpoint does not answer with a grade and its probabilities.
    """
    if settings.kind == "zero_shot":
        from reranker_distill.teacher.zero_shot import prepare_zero_shot

        return prepare_zero_shot(products, settings, template, folder)
    from reranker_distill.teacher.fine_tuned import fine_tune

    return fine_tune(judgments, products, checkpoint=checkpoint, settings=settings, template=template, seed=seed, folder=folder)


def load_teacher(folder: Path, precision: Precision | None = None) -> Teacher:
    """Return the teacher that ``train_teacher`` left in a folder, ready to label; a fine-tuned one as it was trained, or in ``precision``.

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
