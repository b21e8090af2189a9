"""Experiments on finished runs: each asks one question, keeps its trials as they end, and leaves a result and a picture.

Given several runs that hold out different folds, held-out queries are pooled: a cross-validation by intent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from distill.experiments import data_size, learning, losses, shares, targets
from distill.experiments.combinations import combine
from distill.experiments.cross_validation import cross_validate
from distill.experiments.judges import compare_judges
from distill.experiments.left_out import ONE_IN
from distill.experiments.neighbours import lean
from distill.experiments.pictures import draw_curve, draw_rows
from distill.experiments.plan import Plan, student_of
from distill.experiments.report import lines, rows, write
from distill.experiments.trials import Trials
from distill.finished_run import FinishedRun, open_runs, pooled
from distill.stages import full_disk_told

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
    rung: str,
    pairs: int | None,
    say: Callable[[str], None],
    settings: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Make an experiment on finished runs; ``out`` gets ``NAME.json``, ``NAME.png`` and, to go on from, ``NAME.trials.jsonl``.

    Args:
        name: one of ``EXPERIMENTS``.
        rung: which student of the runs' ladder is trained, where students are.
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
            reads |= {"student": {run.name: student_of(run, rung).model_dump() for run in runs}, "pairs": pairs if name != "data-size" else None}
            reads["labels"] = {run.name: run.labels for run in runs}
        if name not in ("targets", "shares"):
            reads["left_out"] = ONE_IN
        plan = Plan(runs, seeds, rung, pairs, Trials(out / f"{name}.trials.jsonl", reads, say), out / f".{name}.work", settings)
        made, tried = room.trials(plan)
        base = getattr(room, "BASE", None)
        measured = pooled(runs)
        against = [ranking for ranking in ("teacher", "committee", "minilm_cosine") if ranking in measured.rankings]
        found = rows(made, runs, tried, against=against, base=base)
        title = room.QUESTION if name == "targets" else f"{room.QUESTION} ({rung})"
        if base:
            draw_rows(found, lines(runs), out / f"{name}.png", title=title, queries=measured.queries, base=base)
        else:
            draw_curve(found, lines(runs), out / f"{name}.png", title=title, queries=measured.queries)
        student = {} if name == "targets" else {"student": rung}
        return write(out / f"{name}.json", question=room.QUESTION, runs=runs, of=found, seeds=list(seeds), **student)
