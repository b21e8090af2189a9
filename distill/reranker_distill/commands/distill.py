"""``reranker distill``: makes a bundle from a recipe."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Annotated

import typer

from reranker.cli.options import AsJson
from reranker.errors import MissingExtraError


def distill(
    recipe: Annotated[str | None, typer.Argument(metavar="RECIPE", help="A TOML file, or the name of a shipped recipe, such as demo.")] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            metavar="DIR",
            help="The run's folder; by default runs/NAME, with --fold runs/NAME-foldN. A stopped run resumes there.",
        ),
    ] = None,
    budget_ms: Annotated[
        float | None,
        typer.Option("--budget-ms", metavar="MS", min=0.001, help="Ship the best student that reranks 50 hits within this time (p50, on this machine)."),
    ] = None,
    fold: Annotated[
        int | None,
        typer.Option("--fold", metavar="N", min=0, help="Hold out this fold of the intents, not the recipe's; a run per fold cross-validates."),
    ] = None,
    reuse: Annotated[
        list[Path] | None,
        typer.Option(
            "--reuse",
            metavar="DIR",
            help="Reuse outputs of this run where the inputs are the same: vectors, labels, a teacher of the same judgments. May be repeated.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the recipe and its files and models, and estimate what the run takes; train nothing.")
    ] = False,
    ray: Annotated[
        str | None,
        typer.Option("--ray", metavar="ADDRESS", help='Label on this Ray cluster: HOST:6379, "auto", or "local", which starts one here.'),
    ] = None,
    keys: Annotated[bool, typer.Option("--keys", help="Print every key of a recipe with its default, as TOML.")] = False,
    as_json: AsJson = False,
) -> None:
    """Distil a student from a catalogue and judgments: teacher, labels, student, ONNX, gate, bundle."""
    from reranker_distill.recipe import format_keys, load_recipe

    if keys:
        print(format_keys())
        return
    if recipe is None:
        raise typer.BadParameter("give a recipe, or --keys.", param_hint="RECIPE")
    loaded, path = load_recipe(recipe)  # before torch is imported, so that a misspelt key is reported at once
    for library in ("torch", "sentence_transformers", "peft", "optimum"):
        if importlib.util.find_spec(library) is None:
            raise MissingExtraError("reranker distill", "distill")
    if ray is not None and importlib.util.find_spec("ray") is None:
        raise MissingExtraError("--ray", "ray")
    if budget_ms is not None:
        loaded = loaded.model_copy(update={"gate": loaded.gate.model_copy(update={"budget_ms": budget_ms})})
    if fold is not None:
        if fold >= loaded.data.folds:
            raise typer.BadParameter(f"the recipe has {loaded.data.folds} folds; they count from 0.", param_hint="--fold")
        loaded = loaded.model_copy(update={"data": loaded.data.model_copy(update={"held_out_fold": fold})})
    if dry_run:
        from reranker_distill.dry_run import dry_run as estimate_run

        report = estimate_run(loaded, path, quiet=as_json)
    else:
        from reranker_distill.run import distil

        name = loaded.name if fold is None else f"{loaded.name}-fold{fold}"
        report = distil(loaded, path, run or Path("runs") / name, quiet=as_json, ray=ray, reuse=reuse or ())
    if as_json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
