"""Who can label without any judgment: an embedder, its neighbourhoods, a language model beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from distill.committee import Judge, Likelihood, NeighbourhoodEmbedder, WithLikelihood
from distill.experiments.pictures import draw_rows
from distill.experiments.report import lines, row_by_fold, write
from distill.finished_run import VECTORS, FinishedRun
from distill.product_vectors import embed_products
from distill.recipe import Likelihood as LikelihoodSettings
from distill.teacher.query_likelihood import QueryLikelihood
from reranker.errors import RerankerError
from reranker.evaluation import Comparison, evaluate_rankings
from reranker.evaluation.comparison import QueryScores, Ranker

QUESTION = "Who judges best without judgments?"
WEIGHTS = (0.1, 0.2, 0.3, 0.4)
PLAIN, NEIGHBOURS, ALONE = "embedder", "embedder with neighbours", "language model alone"
OTHERWISE = "gemma-3-270m"
"""The language model of runs whose recipe names none."""


def compare_judges(runs: list[FinishedRun], out: Path) -> dict[str, Any]:
    """Measure the judges on the runs' held-out queries, and write ``judges.json`` and ``.png``.

    Raises:
        RerankerError: a run has no embedder, or its language model cannot be loaded.
    """
    by_run = [_measure(run) for run in runs]
    measured = Comparison([row for rows in by_run for row in rows], [])
    parts = [len(rows) for rows in by_run]
    against = [PLAIN, NEIGHBOURS]
    found = [row_by_fold(measured, name, runs, parts, [other for other in against if other != name]) for name in measured.rankings]
    draw_rows(found, lines(runs), out / "judges.png", title=QUESTION, queries=measured.queries, base=PLAIN, dots="folds")
    return write(out / "judges.json", question=QUESTION, runs=runs, of=found, language_models=sorted({_settings(run).model for run in runs}))


def _settings(run: FinishedRun) -> LikelihoodSettings:
    return run.recipe.likelihood if run.recipe.likelihood.judges else LikelihoodSettings(model=OTHERWISE)


def _measure(run: FinishedRun) -> list[QueryScores]:
    recipe = run.recipe
    if not recipe.embedder.model:
        raise RerankerError(f"The run {run.folder} has no embedder.", hint='Its recipe says [embedder] model = "".')
    vectors = embed_products(run.products, embedder=recipe.embedder.model, template=recipe.template, folder=run.folder / VECTORS, models=run.models)
    likely = _likelihood(run)
    neighbours = NeighbourhoodEmbedder(vectors, run.products, neighbours=recipe.embedder.neighbours)
    judges: dict[str, Judge] = {PLAIN: NeighbourhoodEmbedder(vectors, run.products, neighbours=1), NEIGHBOURS: neighbours}
    judges |= {f"with neighbours + {weight:g} language model": WithLikelihood(neighbours, likely, weight=weight) for weight in WEIGHTS}
    rankers = {name: _ranker(judge.scores) for name, judge in judges.items()}
    return evaluate_rankings(run.split.held_out, run.products, {**rankers, ALONE: _ranker(likely)}).per_query


def _likelihood(run: FinishedRun) -> Likelihood:
    """Ask the language model about all held-out pairs at once."""
    pairs = sorted({(j.query, j.product_id) for j in run.split.held_out}, key=lambda pair: pair[1])
    model = QueryLikelihood(_settings(run), run.recipe.template, run.models)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("asking how likely queries are", total=len(pairs))
        found = model.distributions([(query, run.products[i]) for query, i in pairs], on_pairs=lambda n: progress.advance(task, n))[:, 1]
    known = dict(zip(pairs, found, strict=True))
    return lambda asked: np.array([known[pair] for pair in asked])


def _ranker(scores: Callable[[list[tuple[str, str]]], np.ndarray]) -> Ranker:
    return lambda query, products: scores([(query, product["id"]) for product in products])
