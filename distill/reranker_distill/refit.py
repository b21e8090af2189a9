"""Refit: training again on all judgments, once runs that held some out have measured the recipe."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from reranker.errors import RecipeError
from reranker_distill.finished_run import FinishedRun, open_runs, pooled
from reranker_distill.gate.prior_measurements import PriorMeasurements
from reranker_distill.recipe import Recipe
from reranker_distill.run import distil

_MAY_DIFFER: dict[str, Any] = {"gate": True, "data": {"held_out_fold"}}


def refit(recipe: Recipe, recipe_path: Path, measured: list[Path], folder: Path, *, quiet: bool = False, ray: str | None = None) -> dict[str, Any]:
    """Run a recipe with nothing held out, and return the report, as ``distil``; the student is the one that most of the runs chose.

    What the runs measured on their held-out intents is given in report and bundle as its quality: each query was ranked by
    students of this recipe that saw nothing of its intent. The new student, trained on more judgments, is not measured.

    Args:
        measured: folders of finished runs of the recipe that hold out different folds.

    Raises:
        RecipeError: a run is of another recipe, or the recipe learns nothing from judgments.
        RerankerError: a run is not finished, or two hold out the same fold; and as ``distil``.
    """
    if not recipe.learns_from_judgments:
        raise RecipeError(f"The recipe {recipe.name} learns nothing from judgments: there is nothing to refit.", hint="Serve the bundle of its run.")
    runs = open_runs(measured)
    for run in runs:
        if (section := _different_section(run, recipe)) is not None:
            raise RecipeError(
                f"The run {run.folder} is of another recipe than {recipe.name}: {section} differs.", hint="Give runs of this recipe, or the recipe of the runs."
            )
    chosen = Counter(run.gate["chosen"] for run in runs).most_common(1)[0][0]
    prior = PriorMeasurements(tuple(run.name for run in runs), pooled(runs))
    return distil(_with_all_judgments(recipe, chosen), recipe_path, folder, quiet=quiet, ray=ray, reuse=[run.folder for run in runs], prior=prior)


def _different_section(run: FinishedRun, recipe: Recipe) -> str | None:
    """Return the name of a section of the recipe in which a run differs, or None."""
    own, wanted = run.recipe.model_dump(exclude=_MAY_DIFFER), recipe.model_dump(exclude=_MAY_DIFFER)
    return next((name for name in wanted if own[name] != wanted[name]), None)


def _with_all_judgments(recipe: Recipe, chosen: str) -> Recipe:
    """Return the recipe with nothing held out, and only the chosen student and the one it depends on."""
    needed = {chosen} | {variant.query_encoder_of for variant in recipe.variants if variant.name == chosen}
    return recipe.model_copy(
        update={
            "data": recipe.data.model_copy(update={"held_out_fold": None}),
            "variants": tuple(variant for variant in recipe.variants if variant.name in needed),
            "gate": recipe.gate.model_copy(update={"ship": chosen, "budget_ms": None}),
        }
    )
