"""A finished run: its labels, its split, and what its gate measured."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from reranker.bundle import sha256
from reranker.errors import RerankerError
from reranker.evaluation import Comparison
from reranker.evaluation.comparison import QueryScores
from reranker.judgments import load_judgments
from reranker.products import Product
from reranker_distill.inputs import read_products, split_judgments
from reranker_distill.pairs import LabelledPair, labelled_in
from reranker_distill.recipe import Recipe
from reranker_distill.run import FILES, REPORT
from reranker_distill.splits import Split
from reranker_distill.stage_folder import result_in
from reranker_distill.stages.gate import PER_QUERY
from reranker_distill.stages.stage import FUSION, GATE, LABELS, MODELS

BUNDLE = "bundle"
"""The ranking by the bundle that a run ships."""


@dataclass(frozen=True)
class FinishedRun:
    """A run's folder; what is in it is read when it is asked for."""

    folder: Path
    recipe: Recipe

    @property
    def name(self) -> str:
        """The run's name in results: its recipe, and the fold it holds out."""
        return f"{self.recipe.name}-fold{self.recipe.data.held_out_fold}"

    @property
    def models(self) -> Path:
        return self.folder / MODELS

    @cached_property
    def products(self) -> dict[str, Product]:
        """The catalogue by id.

        Raises:
            RerankerError: the file has changed since.
        """
        self._check_unchanged("catalog")
        return read_products(self.recipe, Path(self._files["catalog"]))

    @cached_property
    def split(self) -> Split:
        """The judgments as the run split them.

        Raises:
            RerankerError: the file has changed since: its intents would be split differently.
        """
        self._check_unchanged("judgments")
        judgments = [j for j in load_judgments(self._files["judgments"], locale=self.recipe.data.locale) if j.product_id in self.products]
        return split_judgments(self.recipe, judgments)

    @cached_property
    def labelled(self) -> list[LabelledPair]:
        """The pairs that the run's student learnt from, with fused labels where there are any."""
        return labelled_in(self._labels_folder)

    @property
    def labels_fingerprint(self) -> str:
        """The fingerprint of the labels that the run's student learnt from."""
        result = result_in(self._labels_folder)
        return result.fingerprint if result else ""

    @property
    def score_range(self) -> tuple[float, float]:
        """The embedder's scores that stand for a relevance of 0 and 1, in runs whose embedder labels."""
        result = result_in(self.folder / FUSION)
        low, high = result.report["score_range"] if result else (0.0, 1.0)
        return low, high

    @property
    def judgments_sha256(self) -> str | None:
        """The SHA-256 of the judgments that the run read."""
        return self._files["sha256"].get("judgments")

    @cached_property
    def measured(self) -> list[QueryScores]:
        """nDCG@10 of the run's rankings on its held-out queries; "bundle" is the one it ships."""
        rows = [QueryScores(**row) for row in json.loads((self.folder / GATE / PER_QUERY).read_text(encoding="utf-8"))]
        return [row._replace(ndcg={**row.ndcg, BUNDLE: row.ndcg[self.gate["ranking"]]}) for row in rows]

    @cached_property
    def gate(self) -> dict[str, Any]:
        """The gate's report: ``chosen``, the student that became the bundle, ``ranking``, its name among the rankings, and the rest."""
        report: dict[str, Any] = json.loads((self.folder / REPORT).read_text(encoding="utf-8"))["stages"]["gate"]
        return report

    @property
    def _labels_folder(self) -> Path:
        return self.folder / (FUSION if self.recipe.embedder.labels else LABELS)

    @cached_property
    def _files(self) -> dict[str, Any]:
        files: dict[str, Any] = json.loads((self.folder / FILES).read_text(encoding="utf-8"))
        return files

    def _check_unchanged(self, name: str) -> None:
        path, wanted = Path(self._files[name]), self._files["sha256"].get(name)
        if wanted and path.is_file() and sha256(path) != wanted:
            raise RerankerError(f"{path} has changed since the run {self.folder} read it.", hint="Restore the file, or run the recipe again: reranker distill")


def open_run(folder: Path) -> FinishedRun:
    """Open a run's folder.

    Raises:
        RerankerError: no run with judgments is finished there.
    """
    try:
        report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
        for needed in (folder / FILES, folder / GATE / PER_QUERY):
            needed.stat()
        recipe = Recipe.model_validate(report["recipe"])
    except (OSError, ValueError, KeyError):
        raise RerankerError(
            f"No distillation with judgments by this release has been finished in {folder}.", hint="Give the folder of one: reranker distill RECIPE --run DIR"
        ) from None
    return FinishedRun(folder, recipe)


def open_runs(folders: list[Path]) -> list[FinishedRun]:
    """Open several runs of one recipe that hold out different folds of the same judgments, so that no query is counted twice.

    Raises:
        RerankerError: one is not finished, two hold out the same fold, or two read different judgments.
    """
    runs = [open_run(folder) for folder in folders]
    by_name: dict[str, Path] = {}
    for run in runs:
        if run.judgments_sha256 != runs[0].judgments_sha256:
            raise RerankerError(
                f"{run.folder} and {runs[0].folder} read different judgments: a query held out by one may have trained the other.",
                hint="Run the recipe again where the judgments were others.",
            )
        if run.name in by_name:
            raise RerankerError(f"{run.folder} and {by_name[run.name]} hold out the same fold.", hint="Make one run per fold: reranker distill RECIPE --fold N")
        by_name[run.name] = run.folder
    return runs


def pooled(runs: list[FinishedRun]) -> Comparison:
    """Return what the runs' gates measured, all held-out queries together; only rankings that every run has.

    Raises:
        RerankerError: the runs share no ranking.
    """
    rows = [row for run in runs for row in run.measured]
    shared = [name for name in rows[0].ndcg if all(name in row.ndcg for row in rows)]
    if not shared:
        raise RerankerError("The runs measured different rankings.", hint="Give runs of one recipe.")
    return Comparison([row._replace(ndcg={name: row.ndcg[name] for name in shared}) for row in rows], [])
