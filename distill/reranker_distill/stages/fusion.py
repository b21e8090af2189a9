"""The stage that fuses the labels of teacher, embedder and language model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from reranker.evaluation.comparison import Ranker
from reranker.products import Product
from reranker_distill.label_fusion import adjust_by_likelihood, fuse_labels, fused_relevance
from reranker_distill.pairs import LabelledPair, labelled_in, relevance_in, write_rows
from reranker_distill.recipe import Embedder, Likelihood
from reranker_distill.stages.labels import LabelsStage, LikelihoodStage
from reranker_distill.stages.pairs import PairsStage
from reranker_distill.stages.stage import FUSION, Stage, Workspace
from reranker_distill.stages.vectors import VectorsStage


class FusionStage(Stage):
    """Gives each pair one relevance; ``labels`` and ``likelihoods`` are None where there is no teacher or no language model."""

    name = FUSION

    def __init__(
        self,
        workspace: Workspace,
        embedder: Embedder,
        likelihood: Likelihood,
        pairs: PairsStage,
        vectors: VectorsStage,
        labels: LabelsStage | None,
        likelihoods: LikelihoodStage | None,
    ) -> None:
        self._workspace, self._embedder, self._likelihood = workspace, embedder, likelihood
        self._pairs, self._vectors, self._labels, self._likelihoods = pairs, vectors, labels, likelihoods

    def reads(self) -> Mapping[str, Any]:
        stages = (self._pairs, self._vectors, self._labels, self._likelihoods)
        reads: dict[str, Any] = {stage.report_name: stage.result.fingerprint for stage in stages if stage}
        return {**reads, "embedder": self._embedder.model_dump(), "weight": self._likelihood.weight if self._likelihoods else None}

    def run(self, folder: Path) -> dict[str, Any]:
        graded = labelled_in(self._labels.result.folder) if self._labels else None
        labelled = graded or [LabelledPair(*pair, distribution=()) for pair in self._pairs.load()]
        keys = [(pair.query, pair.product_id) for pair in labelled]
        scores = self._vectors.load().scores(keys)
        if self._likelihoods:
            likelihoods = relevance_in(self._likelihoods.result.folder)
            scores = adjust_by_likelihood(keys, scores, np.array([likelihoods[key] for key in keys]), self._likelihood.weight)
        fused = fuse_labels(labelled, scores, self._embedder)
        write_rows(folder / "labels-00000.parquet", fused.labelled)
        return {
            "pairs": len(fused.labelled),
            "embedder_share": self._embedder.share,
            "agreement_of_teacher_and_embedder": fused.agreement,
            "score_range": fused.score_range,
        }

    def ranker(self, teacher: Ranker | None) -> Ranker:
        """Return a ranker by the fused relevance, computed anew for any pairs."""
        from reranker_distill.teacher.query_likelihood import QueryLikelihood

        vectors = self._vectors.load()
        low, high = self.result.report["score_range"]
        language_model = QueryLikelihood(self._likelihood.model, self._workspace.template, self._workspace.models) if self._likelihoods else None

        def relevance(query: str, products: list[Product]) -> np.ndarray:
            keys = [(query, product["id"]) for product in products]
            scores = vectors.scores(keys)
            if language_model:
                scores = adjust_by_likelihood(keys, scores, language_model.relevance(query, products), self._likelihood.weight)
            of_teacher = np.asarray(teacher(query, products)) if teacher else np.zeros(len(products))
            return fused_relevance(keys, of_teacher, scores, self._embedder, (low, high))

        return relevance
