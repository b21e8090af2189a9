"""``reranker distill``: a recipe becomes a bundle."""

from __future__ import annotations

import importlib.util
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
            help="The run's folder; runs/NAME where none is given, with --fold runs/NAME-foldN. A run stopped anywhere goes on from there.",
        ),
    ] = None,
    budget_ms: Annotated[
        float | None,
        typer.Option(
            "--budget-ms", metavar="MS", min=0.001, help="The bundle: the best student of the variants that reranks 50 hits in this time (p50, here)."
        ),
    ] = None,
    fold: Annotated[
        int | None, typer.Option("--fold", metavar="N", min=0, help="Hold out this fold of the intents, not the recipe's: a run a fold is a cross-validation.")
    ] = None,
    reuse: Annotated[
        list[Path] | None,
        typer.Option(
            "--reuse",
            metavar="DIR",
            help="Take from this run what would be the same: vectors, likelihoods, a teacher of the same judgments and its labels. Several may be given.",
        ),
    ] = None,
    refit: Annotated[
        list[Path] | None,
        typer.Option(
            "--refit",
            metavar="DIR",
            help="Hold nothing out: train on all judgments, once finished runs of the recipe (one --refit each) have shown its quality.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the recipe and what it names, build the teacher without its weights, say what it takes; train nothing.")
    ] = False,
    ray: Annotated[
        str | None,
        typer.Option("--ray", metavar="ADDRESS", help='The teacher labels on this Ray cluster: HOST:6379, "auto", or "local", which starts one here.'),
    ] = None,
    keys: Annotated[bool, typer.Option("--keys", help="Print every key that a recipe may have, with its default, as TOML; then stop.")] = False,
    as_json: AsJson = False,
) -> None:
    """Distil a student from judgments and a catalogue: teacher, labels, student, ONNX, gate, bundle."""
    from reranker_distill.recipe import load_recipe, write_keys

    if keys:
        print(write_keys())
        return
    if recipe is None:
        raise typer.BadParameter("give a recipe, or --keys.", param_hint="RECIPE")
    loaded, path = load_recipe(recipe)  # before torch is imported: a misspelt key is told at once
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
    if refit and (fold is not None or budget_ms is not None or dry_run):
        raise typer.BadParameter("the runs have settled that; give it without --fold, --budget-ms and --dry-run.", param_hint="--refit")
    if reuse and refit:
        raise typer.BadParameter("a refit reuses what the runs given have; leave it out.", param_hint="--reuse")
    if dry_run:
        from reranker_distill.dry_run import rehearse

        found = rehearse(loaded, path, quiet=as_json)
        if as_json:
            import json

            print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    if refit:
        from reranker_distill.refit import refit as fit_again

        report = fit_again(loaded, path, refit, run or Path("runs") / f"{loaded.name}-refit", quiet=as_json, ray=ray)
    else:
        from reranker_distill.run import distil

        name = loaded.name if fold is None else f"{loaded.name}-fold{fold}"
        report = distil(loaded, path, run or Path("runs") / name, quiet=as_json, ray=ray, reuse=reuse or ())
    if as_json:
        import json

        print(json.dumps(report, indent=2))
