"""Experiments on finished runs: each asks one question, keeps its trials as they end, and leaves a result and a picture.

Given several runs that hold out different folds, held-out queries are pooled: a cross-validation by intent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.experiments import data_size, learning, losses, shares, targets
from benchmarks.experiments.combinations import combine
from benchmarks.experiments.cross_validation import cross_validate
from benchmarks.experiments.judges import compare_judges
from benchmarks.experiments.left_out import ONE_IN
from benchmarks.experiments.neighbours import lean
from benchmarks.experiments.pictures import draw_curve, draw_rows
from benchmarks.experiments.plan import Plan, student_of
from benchmarks.experiments.report import lines, rows, write
from benchmarks.experiments.trials import Trials
from reranker_distill.finished_run import FinishedRun, open_runs, pooled
from reranker_distill.stages import full_disk_told

TRIED: dict[str, ModuleType] = {"data-size": data_size, "learning": learning, "losses": losses, "shares": shares, "targets": targets}
MEASURED: dict[str, Callable[[list[FinishedRun], Path], dict[str, Any]]] = {
    "cross-validation": cross_validate,
    "combinations": combine,
    "judges": compare_judges,
    "neighbours": lean,
}
EXPERIMENTS = (*TRIED, *MEASURED)

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
    """Make an experiment on finished runs; ``out`` gets ``NAME.json``, ``NAME.png`` and, to go on from, ``NAME.trials.jsonl``.

    Args:
        name: one of ``EXPERIMENTS``.
        variant: which student of the runs' variants is trained, where students are.
        settings: which of the experiment's settings are tried (None: all); what they are compared with is tried anyhow.
        pairs: how many labelled pairs each student learns from (None: all that it may, see ``left_out``); ``data-size`` varies it itself.

    Raises:
        RerankerError: the disk is full, a run is not finished, two hold out the same fold, or they have no such student or the experiment no such setting.
    """
    runs = open_runs(list(folders))
    with full_disk_told(f"the experiment {name}", out):
        out.mkdir(parents=True, exist_ok=True)
        if name in MEASURED:
            return MEASURED[name](runs, out)
        room = TRIED[name]
        reads: dict[str, Any] = {
            "experiment": name,
            "judgments": runs[0].judgments_read,
            "runs": {run.name: run.recipe.model_dump(exclude={"gate", "export", "description"}) for run in runs},
        }
        if name != "targets":
            reads |= {"student": {run.name: student_of(run, variant).model_dump() for run in runs}, "pairs": pairs if name != "data-size" else None}
            reads["labels"] = {run.name: run.labels for run in runs}
        if name not in ("targets", "shares"):
            reads["left_out"] = ONE_IN
        plan = Plan(runs, seeds, variant, pairs, Trials(out / f"{name}.trials.jsonl", reads, say), out / f".{name}.work", settings)
        made, tried = room.trials(plan)
        base = getattr(room, "BASE", None)
        measured = pooled(runs)
        against = [ranking for ranking in ("teacher", "committee", "minilm_cosine") if ranking in measured.rankings]
        found = rows(made, runs, tried, against=against, base=base)
        title = room.QUESTION if name == "targets" else f"{room.QUESTION} ({variant})"
        if base:
            draw_rows(found, lines(runs), out / f"{name}.png", title=title, queries=measured.queries, base=base)
        else:
            draw_curve(found, lines(runs), out / f"{name}.png", title=title, queries=measured.queries)
        student = {} if name == "targets" else {"student": variant}
        return write(out / f"{name}.json", question=room.QUESTION, runs=runs, of=found, seeds=list(seeds), **student)
