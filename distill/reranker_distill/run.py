"""A distillation run: builds the stages of a recipe, runs them, and leaves a report and the bundles."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reranker import __version__
from reranker.bundle import sha256
from reranker.errors import RecipeError, RerankerError
from reranker.folders import copy_files, whole_file, whole_folder
from reranker.terminal import Terminal
from reranker_distill.disk_space import explain_full_disk
from reranker_distill.distributed import DistributedContext
from reranker_distill.inputs import Inputs, check_models_and_disk, read_inputs
from reranker_distill.recipe import Recipe
from reranker_distill.runner import Runner
from reranker_distill.stage_folder import StageResult, fingerprint_of, read_json, result_in, write_json
from reranker_distill.stages import Workspace, build_stages
from reranker_distill.stages.gate import BUNDLES, CATALOGUE_VECTORS, PER_QUERY
from reranker_distill.stages.stage import MODELS, PAIRS
from reranker_distill.stages.teacher import TeacherStage

REPORT = "report.json"

FILES = "files.json"
"""Where the run's catalogue and judgments were, and their hashes."""


class GateRefusal(RerankerError):
    """The gate refuses the student."""

    exit_code = 5


def distil(
    recipe: Recipe,
    recipe_path: Path,
    folder: Path,
    *,
    quiet: bool = False,
    ray: str | None = None,
    reuse: Sequence[Path] = (),
) -> dict[str, Any]:
    """Run a recipe in ``folder``, resuming what is there, and return the report; the bundle is ``folder/bundle``.

    Started several times by ``accelerate launch`` or ``torchrun``, all processes train the teacher and only the main one
    continues; the others exit.

    Args:
        ray: address of the Ray cluster that labels, or "local".
        reuse: earlier runs; the catalogue's vectors, labels and a teacher of the same judgments are taken from them. Fingerprints
            cover inputs and release, not the code: reuse runs of the same code.

    Raises:
        RecipeError, CatalogError, JudgmentError: what the recipe names cannot be used.
        GateRefusal: the student is not good enough; the report says why.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    distributed = DistributedContext()
    console = Terminal(stderr=True, quiet=quiet or not distributed.is_main, highlight=False)
    _check_options(recipe, ray, reuse)
    inputs = read_inputs(recipe, recipe_path, console.print)
    workspace = _workspace(recipe, inputs, folder, console)
    stages = build_stages(recipe, inputs, workspace, distributed=distributed, ray=ray, reuse=reuse)
    if not distributed.is_main:
        if isinstance(stages[0], TeacherStage):
            stages[0].run_as_worker()
        distributed.exit_worker()
    files = {
        "catalog": str(inputs.catalog),
        "judgments": str(inputs.judgments or ""),
        "sha256": {name: workspace.data[name] for name in ("catalog", "judgments") if workspace.data[name]},
        "recipe": fingerprint_of(recipe.model_dump(mode="json")),
    }
    resumes = read_json(folder / FILES) == files
    check_models_and_disk(recipe, folder, inputs, resumes=resumes)
    runner = Runner(folder, lambda text: console.print(f"[bold]·[/] {text}"), reuse)
    with explain_full_disk("the run", folder), runner.locked():
        _prepare_folder(folder, recipe_path, files)
        results = runner.run_all(stages)
        report = _write_report(recipe, folder, results)
        gate = results["gate"]
        if gate.report["refused"]:
            raise GateRefusal(f"The gate refuses the bundle: {'; '.join(gate.report['refused'])}.", hint=f"The whole report: {folder / REPORT}")
        publish_bundles(gate.folder, gate.report["chosen"], folder)
    console.print(f"The bundle is ready: [bold]{folder / 'bundle'}[/] — try it: reranker search --bundle {folder / 'bundle'} laptop")
    if (folder / CATALOGUE_VECTORS).is_dir():
        console.print(f"Serve it with the catalogue's vectors: reranker serve --bundle {folder / 'bundle'} --vectors {folder / CATALOGUE_VECTORS}")
    return report


def publish_bundles(passed: Path, chosen: str, folder: Path) -> None:
    """Copy what passed the gate to where users look: the chosen bundle to ``bundle``, the others to ``bundles``, its vectors to ``vectors``.

    What an earlier run left there, and this one does not have, is removed.

    Raises:
        RerankerError: the disk is full; what an earlier run left is unchanged.
    """
    others = sorted(variant for variant in (passed / BUNDLES).iterdir() if variant.is_dir() and variant.name != chosen)
    vectors = passed / CATALOGUE_VECTORS
    with explain_full_disk("copying the bundles", folder):
        with ExitStack() as copies:  # all are copied before any replaces an old one
            copy_files(passed / BUNDLES / chosen, copies.enter_context(whole_folder(folder / "bundle")))
            if others:
                target = copies.enter_context(whole_folder(folder / BUNDLES))
                for variant in others:
                    copy_files(variant, target / variant.name)
            if vectors.is_dir():
                copy_files(vectors, copies.enter_context(whole_folder(folder / CATALOGUE_VECTORS)))
        for name, exists in ((BUNDLES, others), (CATALOGUE_VECTORS, vectors.is_dir())):
            if not exists:
                shutil.rmtree(folder / name, ignore_errors=True)


def _check_options(recipe: Recipe, ray: str | None, reuse: Sequence[Path]) -> None:
    if ray is not None:
        if recipe.teacher.kind == "zero_shot":
            raise RecipeError("A zero-shot teacher labels through its endpoint, not on a Ray cluster.", hint="Leave --ray out.")
        from reranker_distill.labelling.on_ray import check_address

        check_address(ray)  # before the hours of training
    for run in reuse:
        if result_in(run / PAIRS) is None:
            raise RecipeError(
                f"There is nothing to reuse in {run}.", hint="Give the folder of a run that has chosen its pairs: reranker distill RECIPE --run DIR"
            )


def _workspace(recipe: Recipe, inputs: Inputs, folder: Path, console: Terminal) -> Workspace:
    catalogue = {"release": __version__, "catalog": sha256(inputs.catalog), "template": recipe.template.model_dump()}
    data = {
        **catalogue,
        "judgments": sha256(inputs.judgments) if inputs.judgments else None,
        "data": recipe.data.model_dump(),
        "seed": recipe.seed,
    }
    return Workspace(folder, inputs.products, recipe.template, recipe.seed, {**catalogue, "locale": recipe.data.locale}, data, console)


def _prepare_folder(folder: Path, recipe_path: Path, files: dict[str, Any]) -> None:
    """Write down recipe and files of the run."""
    (folder / MODELS).mkdir(exist_ok=True)
    if recipe_path.resolve() != (folder / "recipe.toml").resolve():
        with whole_file(folder / "recipe.toml") as copy:
            shutil.copyfile(recipe_path, copy)
    write_json(folder / FILES, files)


def _write_report(recipe: Recipe, folder: Path, results: dict[str, StageResult]) -> dict[str, Any]:
    gate = results["gate"].folder
    report = {
        "recipe": recipe.model_dump(mode="json"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "stages": {name: {"seconds": result.seconds, **result.report} for name, result in results.items()},
    }
    if (gate / PER_QUERY).is_file():
        report["held_out_queries"] = json.loads((gate / PER_QUERY).read_text(encoding="utf-8"))
    write_json(folder / REPORT, report)
    return report
