"""Cross-validation by intent: pools what the gates of runs with different held-out folds measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.experiments.pictures import draw_rows
from benchmarks.experiments.report import LINES, lines, row_by_fold, write
from benchmarks.finished_run import FinishedRun, pooled
from reranker.evaluation import Comparison

QUESTION = "All rankings on queries with unseen intents, over all folds"
BASE = "minilm_cosine"


def cross_validate(runs: list[FinishedRun], out: Path) -> dict[str, Any]:
    """Pool the runs' held-out queries, and write ``cross-validation.json`` and ``.png``.

    A fold's students were measured on queries that no stage of their run saw. Differences are paired by query.
    """
    measured = pooled(runs)
    parts = [len(run.measured) for run in runs]
    found = [
        row_by_fold(measured, name, runs, parts, _against(measured, name))
        for name in sorted(measured.rankings, key=measured.mean)
        if name not in LINES or name in ("teacher", "label_fusion")
    ]
    base = BASE if BASE in measured.rankings else "bm25"
    draw_rows(found, lines(runs), out / "cross-validation.png", title=QUESTION, queries=measured.queries, base=base, dots="folds")
    shipped = {run.name: run.gate["chosen"] for run in runs}
    return write(out / "cross-validation.json", question=QUESTION, runs=runs, of=found, chosen=shipped)


def _against(measured: Comparison, name: str) -> list[str]:
    return [ranking for ranking in LINES if ranking in measured.rankings and ranking != name]
