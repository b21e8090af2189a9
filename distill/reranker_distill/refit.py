"""Training again on all judgments, once runs that held some out have shown what the recipe is worth."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from reranker.errors import RecipeError
from reranker_distill.finished_run import FinishedRun, open_runs, pooled
from reranker_distill.gate.evidence import Evidence
from reranker_distill.recipe import Recipe
from reranker_distill.run import distil

_MAY_DIFFER: dict[str, Any] = {"description": True, "gate": True, "data": {"held_out_fold"}}


def refit(recipe: Recipe, recipe_path: Path, measured: list[Path], folder: Path, *, quiet: bool = False, ray: str | None = None) -> dict[str, Any]:
    """Run a recipe with nothing held out, and return the report, as ``distil``; the student is the one that most of the runs chose.

    What the runs measured on their held-out intents stands in report and bundle for its quality: each query was ranked by
    students of this recipe that saw nothing of its intent. The new student, which learnt from more judgments, is not measured.

    Args:
        measured: folders of finished runs of the recipe that hold out different folds.

    Raises:
        RecipeError: a run is of another recipe, or the recipe learns nothing from judgments.
        RerankerError: a run is not finished, or two hold out the same fold; and as ``distil``.
    """
    if not recipe.learns_from_judgments:
        raise RecipeError(f"The recipe {recipe.name} learns nothing from judgments: there is nothing to refit.", hint="Its bundle has what it can have.")
    runs = open_runs(measured)
    for run in runs:
        if (differ := _differences(run, recipe)) is not None:
            raise RecipeError(
                f"The run {run.folder} is of another recipe than {recipe.name}: {differ} differs.", hint="Give runs of this recipe, or the recipe they are of."
            )
    chosen = Counter(run.gate["chosen"] for run in runs).most_common(1)[0][0]
    evidence = Evidence(tuple(run.name for run in runs), pooled(runs))
    return distil(_with_all(recipe, chosen), recipe_path, folder, quiet=quiet, ray=ray, reuse=[run.folder for run in runs], evidence=evidence)


def _differences(run: FinishedRun, recipe: Recipe) -> str | None:
    """Name a section of the recipe in which a run differs, or None."""
    own, wanted = run.recipe.model_dump(exclude=_MAY_DIFFER), recipe.model_dump(exclude=_MAY_DIFFER)
    return next((name for name in wanted if own[name] != wanted[name]), None)


def _with_all(recipe: Recipe, chosen: str) -> Recipe:
    """Return the recipe with nothing held out, and of the variants only the chosen student and what it is made of."""
    shipped = next((variant for variant in recipe.variants if variant.name == chosen), None)
    parts = (*(shipped.duet or ()), shipped.query_encoder_of) if shipped else ()
    return recipe.model_copy(
        update={
            "data": recipe.data.model_copy(update={"held_out_fold": None}),
            "variants": tuple(variant for variant in recipe.variants if variant.name in (chosen, *parts)),
            "gate": recipe.gate.model_copy(update={"ship": chosen, "budget_ms": None}),
        }
    )
