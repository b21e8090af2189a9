"""What it brings that product vectors lean on their neighbours', and how neighbours should be chosen: measured on the runs' bundles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.experiments.pictures import draw_rows
from benchmarks.experiments.report import LINES, lines, row_by_fold, write
from benchmarks.experiments.served import lean_on_neighbours, student_served
from reranker.evaluation import Comparison, evaluate_rankings
from reranker.evaluation.comparison import QueryScores
from reranker.neighbourhoods import DEFAULT, Neighbourhoods
from reranker.scorers import BI_ENCODER
from reranker_distill.finished_run import FinishedRun

PLAIN = "without neighbours"
QUESTION = "Do products ranked with their neighbours' help rank better?"
AS_SHIPPED = "with neighbours"
"""As ``reranker vectors`` makes them."""
TRIED = {
    "at most 5": Neighbourhoods(most=5),
    "at most 20": Neighbourhoods(most=20),
    "at most 30": Neighbourhoods(most=30),
    "likeness 0.5": Neighbourhoods(least=0.5),
    "likeness 0.7": Neighbourhoods(least=0.7),
    "share 0.3": Neighbourhoods(share=0.3),
    "share 0.7": Neighbourhoods(share=0.7),
    AS_SHIPPED: DEFAULT,
}
NESTED = "as chosen on the other folds"
"""For each run, what does best on the others' queries: nothing is chosen on what it is measured on."""


def lean(runs: list[FinishedRun], out: Path) -> dict[str, Any]:
    """Measure bi-encoders on the runs' held-out queries with and without neighbours, and write ``neighbours.json`` and ``.png``.

    Of a run it is the bundle that it ships, or the first of its variants that keeps vectors. Its folder then holds the
    catalogue's vectors, ``vectors``, for `reranker serve --vectors`.

    Raises:
        RerankerError: a run has no bi-encoder.
    """
    by_run = [_measure(run) for run in runs]
    if len(runs) > 1:
        by_run = [[row._replace(ndcg={**row.ndcg, NESTED: row.ndcg[_best(by_run, run)]}) for row in rows] for run, rows in enumerate(by_run)]
    measured = Comparison([row for rows in by_run for row in rows], [])
    parts = [len(rows) for rows in by_run]
    others = [PLAIN, *(name for name in LINES if name in measured.rankings)]
    told = [PLAIN, *TRIED, *([NESTED] if len(runs) > 1 else [])]
    found = [row_by_fold(measured, name, runs, parts, [other for other in others if other != name]) for name in told]
    draw_rows(found, lines(runs), out / "neighbours.png", title=QUESTION, queries=measured.queries, base=PLAIN, dots="folds")
    return write(out / "neighbours.json", question=QUESTION, runs=runs, of=found)


def _measure(run: FinishedRun) -> list[QueryScores]:
    _, student = student_served(run, BI_ENCODER)
    plain = student.bundle.manifest.metrics["ranking"]
    measured = Comparison([row._replace(ndcg={**row.ndcg, PLAIN: row.ndcg[plain]}) for row in run.measured], [])
    for name, neighbourhoods in TRIED.items():
        lean_on_neighbours(run, student, neighbourhoods)
        measured = measured.beside(evaluate_rankings(run.split.held_out, run.products, {name: student.score}))
    return measured.per_query


def _best(by_run: Sequence[Sequence[QueryScores]], left_out: int) -> str:
    """Return what is best, plain or one of those tried, on the queries of all runs but one."""
    rows = [row for run, rows in enumerate(by_run) if run != left_out for row in rows]
    return max([PLAIN, *TRIED], key=lambda name: float(np.mean([row.ndcg[name] for row in rows])))
