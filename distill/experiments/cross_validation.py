"""Cross-validation by intent: what the gates of runs with different held-out folds measured, all queries together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from distill.experiments.finished_run import FinishedRun, pooled
from distill.experiments.pictures import draw_rows
from distill.experiments.report import LINES, Row, lines, write
from reranker.evaluation import Comparison

QUESTION = "Every ranking on queries whose intents nothing was trained on, over all folds"
BASE = "minilm_cosine"


def cross_validate(runs: list[FinishedRun], out: Path) -> dict[str, Any]:
    """Pool the runs' held-out queries, and write ``cross-validation.json`` and ``.png``.

    Each fold's students were measured on queries that no stage of their run saw; differences are paired by query.
    """
    measured = pooled(runs)
    found = [_row(measured, name, runs) for name in sorted(measured.rankings, key=measured.mean) if name not in LINES or name in ("teacher", "committee")]
    base = BASE if BASE in measured.rankings else "bm25"
    draw_rows(found, lines(runs), out / "cross-validation.png", title=QUESTION, queries=measured.queries, base=base, dots="folds")
    shipped = {run.name: json.loads((run.folder / "report.json").read_text(encoding="utf-8"))["stages"]["gate"]["chosen"] for run in runs}
    return write(out / "cross-validation.json", question=QUESTION, runs=runs, of=found, chosen=shipped)


def _row(measured: Comparison, name: str, runs: list[FinishedRun]) -> Row:
    against = [ranking for ranking in LINES if ranking in measured.rankings and ranking != name]
    pairs = round(sum(len(run.labelled) for run in runs) / len(runs))
    by_fold = []
    start = 0
    for run in runs:
        scores = [row.ndcg[name] for row in measured.per_query[start : start + len(run.measured)]]
        start += len(run.measured)
        by_fold.append(sum(scores) / len(scores))
    return Row(name, pairs, measured.interval(name), by_fold, {other: measured.difference(name, other) for other in against})
