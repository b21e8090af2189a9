"""What a bi-encoder, its vectors leaning on their neighbours', gains from company: BM25's score, or a cross-encoder over the head of its ranking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.experiments.pictures import draw_rows
from benchmarks.experiments.report import lines, row_by_fold, write
from benchmarks.experiments.served import lean_on_neighbours, student_served
from reranker.embedded import EmbeddedFirstStage
from reranker.evaluation import Comparison, evaluate_rankings
from reranker.evaluation.comparison import QueryScores, Ranker
from reranker.evaluation.report import bm25_ranker
from reranker.reranker import Reranker
from reranker.scorers import BI_ENCODER, CROSS_ENCODER
from reranker_distill.finished_run import PAIRS, FinishedRun

QUESTION = "Does the bi-encoder gain from BM25's score, or from a cross-encoder over the head of its ranking?"
WEIGHTS = (0.02, 0.05, 0.1, 0.2)
"""BM25's best product of a query counts this much relevance, the others in proportion."""
HEADS = (5, 10, 20)
"""How many products the second reading puts in order."""


def combine(runs: list[FinishedRun], out: Path) -> dict[str, Any]:
    """Measure combinations on the runs' held-out queries, and write ``combinations.json`` and ``.png``.

    Raises:
        RerankerError: a run has no bi-encoder, or no cross-encoder.
    """
    by_run = [_measure(run) for run in runs]
    measured = Comparison([row for rows in by_run for row in rows], [])
    base = measured.rankings[0]
    parts = [len(rows) for rows in by_run]
    found = [row_by_fold(measured, name, runs, parts, [base] if name != base else []) for name in measured.rankings]
    draw_rows(found, lines(runs), out / "combinations.png", title=QUESTION, queries=measured.queries, base=base, dots="folds")
    return write(out / "combinations.json", question=QUESTION, runs=runs, of=found)


def _measure(run: FinishedRun) -> list[QueryScores]:
    name, student = student_served(run, BI_ENCODER)
    second, cross_encoder = student_served(run, CROSS_ENCODER)
    lean_on_neighbours(run, student)
    first = f"{name} with neighbours"
    first_stage = EmbeddedFirstStage(run.folder / PAIRS / "index")
    try:
        bm25 = bm25_ranker(first_stage)
        rankers: dict[str, Ranker] = {first: student.score, name: Reranker(student.bundle).score, second: cross_encoder.score}
        rankers |= {f"{first} + {weight:g} BM25": blend(student.score, bm25, weight) for weight in WEIGHTS}
        rankers |= {f"{first}, its first {head} by {second}": cascade(student.score, cross_encoder.score, head) for head in HEADS}
        return evaluate_rankings(run.split.held_out, run.products, rankers).per_query
    finally:
        first_stage.close()


def blend(student: Ranker, bm25: Ranker, weight: float) -> Callable[[str, list[Any]], np.ndarray]:
    """Return the ranker whose score is the student's relevance + ``weight`` · BM25's score, which is 1 for the query's best product."""

    def scores(query: str, products: list[Any]) -> np.ndarray:
        lexical = np.asarray(bm25(query, products), dtype=np.float64)
        return np.asarray(student(query, products)) + weight * lexical / max(float(lexical.max(initial=0.0)), 1e-9)

    return scores


def cascade(first: Ranker, second: Ranker, head: int) -> Callable[[str, Sequence[Any]], np.ndarray]:
    """Return the ranker in whose order the ``head`` best of the first ranker stand first, as the second has them.

    Source of the idea: Wang, Lin, Metzler, "A cascade ranking model for efficient ranked retrieval", SIGIR 2011.
    """

    def scores(query: str, products: Sequence[Any]) -> np.ndarray:
        order = np.argsort(-np.asarray(first(query, list(products))), kind="stable")
        best = order[:head]
        again = best[np.argsort(-np.asarray(second(query, [products[i] for i in best])), kind="stable")]
        found = np.empty(len(order))
        found[np.concatenate([again, order[head:]])] = -np.arange(len(order))
        return found

    return scores
