"""Experiments on finished distillation runs. Each answers one question, keeps its trials, and writes a result and a picture.

Given several runs that hold out different folds, their held-out queries are pooled: a cross-validation by intent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.experiments import data_size, losses, targets
from benchmarks.experiments.cross_validation import cross_validate
from benchmarks.experiments.judges import compare_judges
from benchmarks.experiments.label_agreement import ONE_IN
from benchmarks.experiments.pictures import draw_curve, draw_rows
from benchmarks.experiments.plan import Plan, student_of
from benchmarks.experiments.report import lines, rows, write
from benchmarks.experiments.trials import Trials
from benchmarks.finished_run import FinishedRun, open_runs, pooled
from reranker_distill.disk_space import explain_full_disk

TRAINED: dict[str, ModuleType] = {"data-size": data_size, "losses": losses, "targets": targets}
"""Experiments that train a model for each setting and seed."""
MEASURED: dict[str, Callable[[list[FinishedRun], Path], dict[str, Any]]] = {"cross-validation": cross_validate, "judges": compare_judges}
"""Experiments that only measure what the runs hold."""
EXPERIMENTS = (*TRAINED, *MEASURED)

__all__ = ["EXPERIMENTS", "experiment"]


def experiment(
    name: str,
    folders: Sequence[Path],
    *,
    out: Path,
    seeds: Sequence[int],
    variant: str,
    pairs: int | None,
    say: Callable[[str], None],
    settings: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Run an experiment on finished runs. ``out`` gets ``NAME.json``, ``NAME.png`` and, to resume from, ``NAME.trials.jsonl``.

    Args:
        name: one of ``EXPERIMENTS``.
        variant: which student of the runs is trained, in experiments that train students.
        settings: which settings of the experiment are tried (None: all). The setting that others are compared with is always tried.
        pairs: how many labelled pairs each student learns from (None: all that it may, see ``label_agreement``); ``data-size`` varies it itself.

    Raises:
        RerankerError: the disk is full, a run is not finished, two runs hold out the same fold, or a student or setting does not exist.
    """
    runs = open_runs(list(folders))
    with explain_full_disk(f"the experiment {name}", out):
        out.mkdir(parents=True, exist_ok=True)
        if name in MEASURED:
            return MEASURED[name](runs, out)
        module = TRAINED[name]
        reads: dict[str, Any] = {
            "experiment": name,
            "judgments": runs[0].judgments_sha256,
            "runs": {run.name: run.recipe.model_dump(exclude={"gate", "export", "description"}) for run in runs},
        }
        if name != "targets":
            reads |= {"student": {run.name: student_of(run, variant).model_dump() for run in runs}, "pairs": pairs if name != "data-size" else None}
            reads |= {"labels": {run.name: run.labels_fingerprint for run in runs}, "left_out": ONE_IN}
        plan = Plan(runs, seeds, variant, pairs, Trials(out / f"{name}.trials.jsonl", reads, say), out / f".{name}.work", settings)
        made, tried = module.trials(plan)
        base = getattr(module, "BASE", None)
        measured = pooled(runs)
        against = [ranking for ranking in ("teacher", "label_fusion", "minilm_cosine") if ranking in measured.rankings]
        found = rows(made, runs, tried, against=against, base=base)
        title = module.QUESTION if name == "targets" else f"{module.QUESTION} ({variant})"
        if base:
            draw_rows(found, lines(runs), out / f"{name}.png", title=title, queries=measured.queries, base=base)
        else:
            draw_curve(found, lines(runs), out / f"{name}.png", title=title, queries=measured.queries)
        student = {} if name == "targets" else {"student": variant}
        return write(out / f"{name}.json", question=module.QUESTION, runs=runs, of=found, seeds=list(seeds), **student)
