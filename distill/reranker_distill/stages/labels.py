"""The stages that label pairs in shards: by the teacher, and by a language model's query likelihood."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from reranker_distill.checkpoints import files_of
from reranker_distill.labelling import KnownLabels, Labeller, label_pairs
from reranker_distill.pairs import LabelledPair, read_labelled
from reranker_distill.recipe import Likelihood
from reranker_distill.stage_folder import similar_outputs
from reranker_distill.stages.pairs import PairsStage
from reranker_distill.stages.stage import LABELS, LIKELIHOOD, Stage, Workspace
from reranker_distill.stages.teacher import TeacherStage


class LabellingStage(Stage):
    """Labels all pairs; labels that the same labeller gave other pairs in ``previous_runs``, or in this run before, are reused."""

    progress_title: str

    def __init__(self, workspace: Workspace, pairs: PairsStage, ray: str | None, previous_runs: Sequence[Path]) -> None:
        self._workspace, self._pairs, self._ray, self._previous_runs = workspace, pairs, ray, previous_runs

    @abstractmethod
    def labeller(self) -> Labeller | Path:
        """Return what labels: a labeller, or a teacher's folder."""

    @abstractmethod
    def labeller_reads(self) -> Mapping[str, Any]:
        """Return what identifies the labeller."""

    def reads(self) -> Mapping[str, Any]:
        return {**self.labeller_reads(), "pairs": self._pairs.result.fingerprint}

    def run(self, folder: Path) -> dict[str, Any]:
        pairs = sorted(self._pairs.load(), key=lambda pair: pair.product_id)  # a decoder reads a product once per shard
        previous = [
            path for path in similar_outputs([*self._previous_runs, self._workspace.folder], self.name, self.reads(), ignore=("pairs",)) if path != folder
        ]
        known = known_labels(previous)
        with self._workspace.progress(self.progress_title, len(pairs)) as advance:
            shards = label_pairs(pairs, self._workspace.products, self.labeller(), folder=folder, on_pairs=advance, ray=self._ray, known=known)
        labelled = read_labelled(shards)
        reused = sum((pair.query, pair.product_id) in known for pair in labelled)
        return {"pairs": len(labelled), **self.summary(labelled), **({"pairs_reused": reused} if reused else {})}

    def summary(self, labelled: Sequence[LabelledPair]) -> dict[str, Any]:
        """Return what the report says of the labels."""
        return {"mean_relevance": round(sum(pair.relevance for pair in labelled) / len(labelled), 4)}


class LabelsStage(LabellingStage):
    """The teacher's grade distributions."""

    name = LABELS
    progress_title = "labelling pairs"

    def __init__(self, workspace: Workspace, teacher: TeacherStage, pairs: PairsStage, ray: str | None, previous_runs: Sequence[Path]) -> None:
        super().__init__(workspace, pairs, ray, previous_runs)
        self._teacher = teacher

    def labeller(self) -> Path:
        return self._teacher.result.folder

    def labeller_reads(self) -> Mapping[str, Any]:
        return {"teacher": self._teacher.result.build}


class LikelihoodStage(LabellingStage):
    """A pretrained language model's probability of the query after the product."""

    name = LIKELIHOOD
    progress_title = "computing query likelihoods"

    def __init__(self, workspace: Workspace, settings: Likelihood, pairs: PairsStage, ray: str | None, previous_runs: Sequence[Path]) -> None:
        super().__init__(workspace, pairs, ray, previous_runs)
        self._settings = settings

    def labeller(self) -> Labeller:
        from reranker_distill.teacher.query_likelihood import QueryLikelihood

        return QueryLikelihood(self._settings.model, self._workspace.template, self._workspace.models)

    def labeller_reads(self) -> Mapping[str, Any]:
        return {**self._workspace.catalogue, "model": self._settings.model, **files_of(self._settings.model)}

    def summary(self, labelled: Sequence[LabelledPair]) -> dict[str, Any]:
        return {"model": self._settings.model}


def known_labels(folders: Sequence[Path]) -> KnownLabels:
    """Return the labels in the shards of some folders; unreadable shards are skipped."""
    known: dict[tuple[str, str], tuple[float, ...]] = {}
    for shard in (path for folder in folders for path in sorted(folder.glob("labels-*.parquet"))):
        with suppress(OSError, ValueError, KeyError, TypeError):  # truncated, or removed by a run at work there
            known |= {(pair.query, pair.product_id): pair.distribution for pair in read_labelled([shard])}
    return known
