"""The rankings that the gate compares: BM25, the teacher, what the students learnt, the students, the off-the-shelf embedder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from reranker.evaluation.comparison import Ranker
from reranker.evaluation.embedder import NAME as EMBEDDER
from reranker.evaluation.embedder import load_embedder
from reranker.evaluation.report import bm25_ranker
from reranker.first_stage import FirstStage
from reranker.products import Product
from reranker_distill.gate.loaded_variants import LoadedVariant
from reranker_distill.label_fusion import judge_of, together
from reranker_distill.product_vectors import embed_products
from reranker_distill.recipe import Recipe
from reranker_distill.stages import Stage
from reranker_distill.teacher import load_teacher
from reranker_distill.teacher.query_likelihood import QueryLikelihood


def load_rankers(
    recipe: Recipe, made: Mapping[str, Stage], variants: list[LoadedVariant], products: Mapping[str, Product], first_stage: FirstStage, models: Path
) -> tuple[dict[str, Ranker], dict[str, str]]:
    """Return the rankers by name, and why one is absent."""
    rankers: dict[str, Ranker] = {"bm25": bm25_ranker(first_stage)}
    if "teacher" in made:
        rankers["teacher"] = load_teacher(made["teacher"].folder, recipe.labelling.precision).relevance
    if "range" in made["labels"].report:
        rankers["committee"] = _committee(recipe, made, products, rankers.get("teacher"), models)
    rankers |= {f"{variant.name}_{precision}": student.score for variant in variants for precision, student in variant.students.items()}
    embedder = load_embedder(recipe.template)
    if isinstance(embedder, str):
        return rankers, {EMBEDDER: embedder}
    return {**rankers, EMBEDDER: embedder}, {}


def _committee(recipe: Recipe, made: Mapping[str, Stage], products: Mapping[str, Product], teacher: Ranker | None, models: Path) -> Callable[..., Any]:
    """Return whose relevance the students learnt."""
    vectors = embed_products(products, embedder=recipe.embedder.model, template=recipe.template, folder=made["vectors"].folder, models=models)
    model = QueryLikelihood(recipe.likelihood, recipe.template, models)
    likelihood = (lambda pairs: model.distributions([(query, products[i]) for query, i in pairs])[:, 1]) if recipe.likelihood.judges else None
    judge = judge_of(recipe, vectors, products, likelihood)
    low, high = made["labels"].report["range"]

    def relevance(query: str, asked: list[Product]) -> np.ndarray:
        pairs = [(query, product["id"]) for product in asked]
        scores = judge.scores(pairs)
        of_teacher = np.zeros(len(asked)) if teacher is None else np.asarray(teacher(query, asked))
        said = recipe.embedder
        return together(pairs, of_teacher, scores, teacher_share=1 - said.share, by_agreement=said.teacher_by_agreement, scores_range=(low, high))

    return relevance
