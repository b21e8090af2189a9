"""Who labels best: the embedder and a language model, which need no judgments, or a teacher that was fine-tuned on some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.experiments.pictures import draw_rows
from benchmarks.experiments.report import lines, row_by_fold, write
from reranker.errors import RerankerError
from reranker.evaluation import Comparison, evaluate_rankings
from reranker.evaluation.comparison import QueryScores, Ranker
from reranker.progress import progress
from reranker_distill.finished_run import TEACHER, VECTORS, FinishedRun
from reranker_distill.label_fusion import Judge, Likelihood, NeighbourhoodEmbedder, WithLikelihood, judge_of, together
from reranker_distill.product_vectors import ProductVectors, embed_products
from reranker_distill.recipe import Likelihood as LikelihoodSettings
from reranker_distill.teacher import Teacher, load_teacher
from reranker_distill.teacher.query_likelihood import QueryLikelihood
from reranker_distill.teacher.soft_targets import expected_relevance

QUESTION = "Who judges best?"
WEIGHTS = (0.1, 0.2, 0.3, 0.4)
SHARES = (0.05, 0.1, 0.2, 0.5)
"""The teacher's weights in a label, where the runs fine-tuned one; the recipe's embedder has the rest.
Each is tried fixed, and scaled by the agreement of the two on a query's products."""
PLAIN, NEIGHBOURS, ALONE = "embedder", "embedder with neighbours", "language model alone"
DEFAULT_LANGUAGE_MODEL = "gemma-3-270m"
"""The language model for runs whose recipe names none."""


def compare_judges(runs: list[FinishedRun], out: Path) -> dict[str, Any]:
    """Measure the labellers on the runs' held-out queries, and write ``judges.json`` and ``.png``.

    If all runs have a fine-tuned teacher, it is measured too, alone and at several weights.

    Raises:
        RerankerError: a run has no embedder, or its language model cannot be loaded.
    """
    with_teacher = all(run.recipe.learns_from_judgments and run.recipe.embedder.judges for run in runs)
    by_run = [_measure(run, with_teacher) for run in runs]
    measured = Comparison([row for rows in by_run for row in rows], [])
    parts = [len(rows) for rows in by_run]
    against = [PLAIN, NEIGHBOURS]
    found = [row_by_fold(measured, name, runs, parts, [other for other in against if other != name]) for name in measured.rankings]
    draw_rows(found, lines(runs), out / "judges.png", title=QUESTION, queries=measured.queries, base=PLAIN, dots="folds")
    return write(out / "judges.json", question=QUESTION, runs=runs, of=found, language_models=sorted({_settings(run).model for run in runs}))


def _settings(run: FinishedRun) -> LikelihoodSettings:
    return run.recipe.likelihood if run.recipe.likelihood.judges else LikelihoodSettings(model=DEFAULT_LANGUAGE_MODEL)


def _measure(run: FinishedRun, with_teacher: bool) -> list[QueryScores]:
    recipe = run.recipe
    if not recipe.embedder.model:
        raise RerankerError(f"The run {run.folder} has no embedder.", hint='Its recipe says [embedder] model = "".')
    vectors = embed_products(run.products, embedder=recipe.embedder.model, template=recipe.template, folder=run.folder / VECTORS, models=run.models)
    likely = _likelihood(run)
    neighbours = NeighbourhoodEmbedder(vectors, run.products, neighbours=recipe.embedder.neighbours)
    judges: dict[str, Judge] = {PLAIN: NeighbourhoodEmbedder(vectors, run.products, neighbours=1), NEIGHBOURS: neighbours}
    judges |= {f"with neighbours + {weight:g} language model": WithLikelihood(neighbours, likely, weight=weight) for weight in WEIGHTS}
    rankers = {name: _ranker(judge.scores) for name, judge in judges.items()}
    if with_teacher:
        rankers |= _with_teacher(run, vectors, likely)
    return evaluate_rankings(run.split.held_out, run.products, {**rankers, ALONE: _ranker(likely)}).per_query


def _with_teacher(run: FinishedRun, vectors: ProductVectors, likely: Likelihood) -> dict[str, Ranker]:
    """Return the run's teacher alone, and mixed with the embedder of the run's recipe."""
    of_teacher = _asked(run, load_teacher(run.folder / TEACHER), "teacher labels")
    judge = judge_of(run.recipe, vectors, run.products, likely if run.recipe.likelihood.judges else None)
    scores_range = run.embedder_range

    def beside(share: float, *, by_agreement: bool) -> Ranker:
        return _ranker(
            lambda asked: together(asked, of_teacher(asked), judge.scores(asked), teacher_share=share, by_agreement=by_agreement, scores_range=scores_range)
        )

    rankers = {f"recipe's embedder + {share:g} fine-tuned teacher": beside(share, by_agreement=False) for share in SHARES}
    rankers |= {f"recipe's embedder + {share:g} teacher by agreement": beside(share, by_agreement=True) for share in SHARES}
    return {**rankers, "fine-tuned teacher alone": _ranker(of_teacher)}


def _likelihood(run: FinishedRun) -> Likelihood:
    return _asked(run, QueryLikelihood(_settings(run), run.recipe.template, run.models), "query likelihoods")


def _asked(run: FinishedRun, model: Teacher, what: str) -> Callable[[Sequence[tuple[str, str]]], np.ndarray]:
    """Score all held-out pairs, sorted by product so that a decoder reads each product once; return a look-up of their relevance."""
    pairs = sorted({(j.query, j.product_id) for j in run.split.held_out}, key=lambda pair: pair[1])
    with progress(what, len(pairs), Console(stderr=True)) as advance:
        found = model.distributions([(query, run.products[i]) for query, i in pairs], on_pairs=advance)
    known = dict(zip(pairs, expected_relevance(found), strict=True))
    return lambda asked: np.array([known[pair] for pair in asked])


def _ranker(scores: Callable[[list[tuple[str, str]]], np.ndarray]) -> Ranker:
    return lambda query, products: scores([(query, product["id"]) for product in products])
