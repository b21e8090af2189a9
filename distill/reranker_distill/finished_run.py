"""What is taken from a run that ``reranker distill`` has finished: its labels, its split, what its gate measured."""

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
from reranker_distill.gate import PER_QUERY
from reranker_distill.inputs import read_products, split_judgments
from reranker_distill.pairs import LabelledPair, labelled_in
from reranker_distill.recipe import Recipe
from reranker_distill.splits import Split
from reranker_distill.stages import stage_in

BUNDLE = "bundle"
"""The ranking by what a run ships."""

TEACHER = "1-teacher"
VECTORS = "2-vectors"
PAIRS = "2-pairs"
LABELS = "3-labels"
LIKELIHOOD = "3-likelihood"
"""The stage whose shards hold a language model's likelihoods."""
TOGETHER = "3-together"
"""The stage whose shard holds the committee's word."""

FILES = "files.json"
"""Where the run's catalogue and judgments were, for what is made on it later."""


@dataclass(frozen=True)
class FinishedRun:
    """A run's folder, read as far as it is asked for."""

    folder: Path
    recipe: Recipe

    @property
    def name(self) -> str:
        """Tells the run in results: its recipe, and the fold it holds out."""
        return f"{self.recipe.name}-fold{self.recipe.data.held_out_fold}"

    @property
    def models(self) -> Path:
        return self.folder / "pretrained"

    @cached_property
    def products(self) -> dict[str, Product]:
        """The catalogue by id.

        Raises:
            RerankerError: the file is no longer the one that the run read.
        """
        self._check_unchanged("catalog")
        return read_products(self.recipe, Path(self._files["catalog"]))

    @cached_property
    def split(self) -> Split:
        """The judgments as the run dealt them.

        Raises:
            RerankerError: the file is no longer the one that the run read: its intents would be dealt anew.
        """
        self._check_unchanged("judgments")
        judgments = [j for j in load_judgments(self._files["judgments"], locale=self.recipe.data.locale) if j.product_id in self.products]
        return split_judgments(self.recipe, judgments)

    @cached_property
    def labelled(self) -> list[LabelledPair]:
        """The pairs with what the run's student learnt: the committee's word where there is one."""
        return labelled_in(self._taught)

    @property
    def labels(self) -> str:
        """The fingerprint of the labels that the run's student learnt."""
        stage = stage_in(self._taught)
        return stage.fingerprint if stage else ""

    @property
    def embedder_range(self) -> tuple[float, float]:
        """The range of the embedder's scores that stands for a relevance of 0 to 1; of runs whose embedder judges."""
        stage = stage_in(self.folder / TOGETHER)
        low, high = stage.report["range"] if stage else (0.0, 1.0)
        return low, high

    @property
    def judgments_read(self) -> str | None:
        """The SHA-256 of the judgments that the run read; None where it is of a release that did not keep it."""
        return self._sha256.get("judgments")

    @property
    def _taught(self) -> Path:
        return self.folder / (TOGETHER if self.recipe.embedder.judges else LABELS)

    @cached_property
    def measured(self) -> list[QueryScores]:
        """nDCG@10 of the run's own rankings on its held-out queries; "bundle" is what it ships."""
        rows = [QueryScores(**row) for row in json.loads((self.folder / "6-gate" / PER_QUERY).read_text(encoding="utf-8"))]
        return [row._replace(ndcg={**row.ndcg, BUNDLE: row.ndcg[self.gate["ranking"]]}) for row in rows]

    @cached_property
    def gate(self) -> dict[str, Any]:
        """What the run's gate reported: ``chosen``, the student that became the bundle, ``ranking``, its name among the rankings, and all else."""
        report: dict[str, Any] = json.loads((self.folder / "report.json").read_text(encoding="utf-8"))["stages"]["gate"]
        return report

    @cached_property
    def _files(self) -> dict[str, Any]:
        files: dict[str, Any] = json.loads((self.folder / FILES).read_text(encoding="utf-8"))
        return files

    @property
    def _sha256(self) -> dict[str, str]:
        kept: dict[str, str] = self._files.get("sha256", {})
        return kept

    def _check_unchanged(self, name: str) -> None:
        path, wanted = Path(self._files[name]), self._sha256.get(name)
        if wanted and path.is_file() and sha256(path) != wanted:
            raise RerankerError(
                f"{path} has changed since the run {self.folder} read it.", hint="Put back the file as it was, or run the recipe again: reranker distill"
            )


def open_run(folder: Path) -> FinishedRun:
    """Open a run's folder.

    Raises:
        RerankerError: no run has been finished there.
    """
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        for needed in (folder / FILES, folder / "6-gate" / PER_QUERY):
            needed.stat()
    except (OSError, ValueError):
        raise RerankerError(
            f"No distillation with judgments has been finished in {folder}.", hint="Give the folder of one: reranker distill RECIPE --run DIR"
        ) from None
    return FinishedRun(folder, Recipe.model_validate(report["recipe"]))


def open_runs(folders: list[Path]) -> list[FinishedRun]:
    """Open several runs of one recipe that hold out different folds of the same judgments, so that no query is counted twice.

    Raises:
        RerankerError: one is not finished, two hold out the same fold, or two read different judgments.
    """
    runs = [open_run(folder) for folder in folders]
    seen: dict[str, Path] = {}
    for run in runs:
        if run.judgments_read != runs[0].judgments_read:
            raise RerankerError(
                f"{run.folder} and {runs[0].folder} read different judgments: a query held out by one may have taught the other.",
                hint="Run the recipe again where the judgments were others.",
            )
        if run.name in seen:
            raise RerankerError(f"{run.folder} and {seen[run.name]} hold out the same fold.", hint="Make one run a fold: reranker distill RECIPE --fold N")
        seen[run.name] = run.folder
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
