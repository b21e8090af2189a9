"""Who labels best: the embedder and a language model, which need no judgments, or a teacher that was fine-tuned on some."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.experiments.pictures import draw_rows
from benchmarks.experiments.report import lines, row_by_fold, write
from benchmarks.finished_run import FinishedRun
from reranker.errors import RerankerError
from reranker.evaluation import Comparison, evaluate_rankings
from reranker.evaluation.comparison import QueryScores, Ranker
from reranker.progress import progress
from reranker_distill.label_fusion import adjust_by_likelihood, fused_relevance
from reranker_distill.product_vectors import ProductVectors, load_product_vectors
from reranker_distill.recipe import Embedder
from reranker_distill.recipe import Likelihood as LikelihoodSettings
from reranker_distill.stages.stage import TEACHER, VECTORS
from reranker_distill.teacher import Teacher, load_teacher
from reranker_distill.teacher.query_likelihood import QueryLikelihood
from reranker_distill.teacher.soft_targets import expected_relevance

QUESTION = "Who judges best?"
WEIGHTS = (0.1, 0.2, 0.3, 0.4)
SHARES = (0.05, 0.1, 0.2, 0.5)
"""The teacher's weights in a label, where the runs fine-tuned one; the recipe's embedder has the rest.
Each is tried fixed, and scaled by the agreement of the two on a query's products."""
PLAIN, ALONE = "embedder", "language model alone"
Scores = Callable[[list[tuple[str, str]]], np.ndarray]
"""Gives a score of each (query, product id) pair: (n,)."""
DEFAULT_LANGUAGE_MODEL = "gemma-3-270m"
"""The language model for runs whose recipe names none."""


def compare_judges(runs: list[FinishedRun], out: Path) -> dict[str, Any]:
    """Measure the labellers on the runs' held-out queries, and write ``judges.json`` and ``.png``.

    If all runs have a fine-tuned teacher, it is measured too, alone and at several weights.

    Raises:
        RerankerError: a run has no embedder, or its language model cannot be loaded.
    """
    with_teacher = all(run.recipe.learns_from_judgments and run.recipe.embedder.labels for run in runs)
    by_run = [_measure(run, with_teacher) for run in runs]
    measured = Comparison([row for rows in by_run for row in rows], [])
    parts = [len(rows) for rows in by_run]
    found = [row_by_fold(measured, name, runs, parts, [] if name == PLAIN else [PLAIN]) for name in measured.rankings]
    draw_rows(found, lines(runs), out / "judges.png", title=QUESTION, queries=measured.queries, base=PLAIN, dots="folds")
    return write(out / "judges.json", question=QUESTION, runs=runs, of=found, language_models=sorted({_settings(run).model for run in runs}))


def _settings(run: FinishedRun) -> LikelihoodSettings:
    return run.recipe.likelihood if run.recipe.likelihood.labels else LikelihoodSettings(model=DEFAULT_LANGUAGE_MODEL)


def _measure(run: FinishedRun, with_teacher: bool) -> list[QueryScores]:
    recipe = run.recipe
    if not recipe.embedder.model:
        raise RerankerError(f"The run {run.folder} has no embedder.", hint='Its recipe says [embedder] model = "".')
    vectors = load_product_vectors(run.products, embedder=recipe.embedder.model, folder=run.folder / VECTORS, models=run.models)
    likelihood = _asked(run, QueryLikelihood(_settings(run).model, recipe.template, run.models), "query likelihoods")
    rankers = {PLAIN: _ranker(vectors.scores)}
    rankers |= {f"embedder + {weight:g} language model": _ranker(_adjusted(vectors, likelihood, weight)) for weight in WEIGHTS}
    if with_teacher:
        rankers |= _with_teacher(run, vectors, likelihood)
    return evaluate_rankings(run.split.held_out, run.products, {**rankers, ALONE: _ranker(likelihood)}).per_query


def _adjusted(vectors: ProductVectors, likelihood: Scores, weight: float) -> Scores:
    return lambda pairs: adjust_by_likelihood(pairs, vectors.scores(pairs), likelihood(pairs), weight)


def _with_teacher(run: FinishedRun, vectors: ProductVectors, likelihood: Scores) -> dict[str, Ranker]:
    """Return the run's teacher alone, and fused with the embedder as in the run's recipe."""
    teacher = _asked(run, load_teacher(run.folder / TEACHER), "teacher labels")
    scores = _adjusted(vectors, likelihood, run.recipe.likelihood.weight) if run.recipe.likelihood.labels else vectors.scores

    def fused(share: float, *, by_agreement: bool) -> Ranker:
        settings = Embedder(share=1 - share, teacher_by_agreement=by_agreement)
        return _ranker(lambda pairs: fused_relevance(pairs, teacher(pairs), scores(pairs), settings, run.score_range))

    rankers = {f"recipe's embedder + {share:g} fine-tuned teacher": fused(share, by_agreement=False) for share in SHARES}
    rankers |= {f"recipe's embedder + {share:g} teacher by agreement": fused(share, by_agreement=True) for share in SHARES}
    return {**rankers, "fine-tuned teacher alone": _ranker(teacher)}


def _asked(run: FinishedRun, model: Teacher, what: str) -> Scores:
    """Score all held-out pairs, sorted by product so that a decoder reads each product once; return a look-up of their relevance."""
    pairs = sorted({(j.query, j.product_id) for j in run.split.held_out}, key=lambda pair: pair[1])
    with progress(what, len(pairs), Console(stderr=True)) as advance:
        found = model.distributions([(query, run.products[i]) for query, i in pairs], on_pairs=advance)
    known = dict(zip(pairs, expected_relevance(found), strict=True))
    return lambda asked: np.array([known[pair] for pair in asked])


def _ranker(scores: Scores) -> Ranker:
    return lambda query, products: scores([(query, product["id"]) for product in products])
