"""What is taken from a run that ``reranker distill`` has finished: its labels, its split, what its gate measured."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from distill.gate import PER_QUERY
from distill.inputs import read_products, split_judgments
from distill.pairs import LabelledPair, labelled_in
from distill.recipe import Recipe
from distill.splits import Split
from reranker.errors import RerankerError
from reranker.evaluation import Comparison
from reranker.evaluation.comparison import QueryScores
from reranker.judgments import load_judgments
from reranker.products import Product

BUNDLE = "bundle"
"""The ranking by what a run ships."""

TEACHER = "1-teacher"
VECTORS = "2-vectors"
PAIRS = "2-pairs"
LABELS = "3-labels"
LIKELIHOOD = "3-likelihood"
"""The stage whose shards hold a language model's likelihoods."""

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
        return read_products(self.recipe, Path(self._files["catalog"]))

    @cached_property
    def split(self) -> Split:
        judgments = [j for j in load_judgments(self._files["judgments"], locale=self.recipe.data.locale) if j.product_id in self.products]
        return split_judgments(self.recipe, judgments)

    @cached_property
    def labelled(self) -> list[LabelledPair]:
        """The pairs with what the run's student learnt: the committee's word where there is one."""
        together = self.folder / "3-together"
        folder = together if (together / "stage.json").is_file() else self.folder / LABELS
        return labelled_in(folder)

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
    def _files(self) -> dict[str, str]:
        files: dict[str, str] = json.loads((self.folder / FILES).read_text(encoding="utf-8"))
        return files


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
    """Open several runs of one recipe that hold out different folds, so that no query is counted twice.

    Raises:
        RerankerError: one is not finished, or two hold out the same fold.
    """
    runs = [open_run(folder) for folder in folders]
    seen: dict[str, Path] = {}
    for run in runs:
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
