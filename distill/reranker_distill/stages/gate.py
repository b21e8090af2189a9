"""The stage that measures the students and decides which bundle may serve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from reranker.evaluation.comparison import Ranker
from reranker.evaluation.report import bm25_ranker
from reranker_distill.gate.prior_measurements import PriorMeasurements
from reranker_distill.gate.trained_variant import TrainedVariant
from reranker_distill.pairs import labelled_in
from reranker_distill.recipe import Gate, Provenance, Student
from reranker_distill.splits import Split
from reranker_distill.stages.export import ExportStage
from reranker_distill.stages.fusion import FusionStage
from reranker_distill.stages.pairs import PairsStage
from reranker_distill.stages.stage import GATE, Stage, Workspace
from reranker_distill.stages.teacher import TeacherStage


class VariantStages(NamedTuple):
    """The stages of one student; ``products`` are those of the bi-encoder that encodes products for a query encoder."""

    name: str
    settings: Student
    student: Stage
    export: ExportStage
    products: VariantStages | None = None

    def trained(self) -> TrainedVariant:
        """Return the student, once its stages are finished."""
        return TrainedVariant(self.name, self.settings, self.student.result, self.export.result, self.products.trained() if self.products else None)


class GateStage(Stage):
    """Measures all students, and writes each one's bundle; ``labels`` is the stage whose labels they learnt from."""

    name = GATE

    def __init__(
        self,
        workspace: Workspace,
        settings: Gate,
        provenance: Provenance,
        split: Split,
        pairs: PairsStage,
        labels: Stage,
        teacher: TeacherStage | None,
        variants: Sequence[VariantStages],
        prior: PriorMeasurements | None,
    ) -> None:
        self._workspace, self._settings, self._provenance, self._split = workspace, settings, provenance, split
        self._pairs, self._labels, self._teacher, self._variants, self._prior = pairs, labels, teacher, variants, prior

    def reads(self) -> Mapping[str, Any]:
        return {
            "exports": {variant.name: [variant.student.result.fingerprint, variant.export.result.fingerprint] for variant in self._variants},
            "labels": self._labels.result.fingerprint,
            "gate": self._settings.model_dump(),
            "provenance": self._provenance._asdict(),
            "prior": self._prior.as_dict() if self._prior else None,
        }

    def run(self, folder: Path) -> dict[str, Any]:
        from reranker_distill.gate.measure import GateInputs, pass_gate

        workspace = self._workspace
        inputs = GateInputs(
            settings=self._settings,
            provenance=self._provenance,
            template=workspace.template,
            seed=workspace.seed,
            split=self._split,
            products=workspace.products,
            labelled=labelled_in(self._labels.result.folder),
            judged_pairs=self._teacher.result.report.get("pairs", 0) if self._teacher else 0,
            variants=[variant.trained() for variant in self._variants],
            rankers=self._rankers() if self._split.held_out else {},
            first_stage=self._pairs.first_stage(),
            prior=self._prior,
        )
        return pass_gate(inputs, folder, say=workspace.say, progress=workspace.progress)

    def _rankers(self) -> dict[str, Ranker]:
        """Return what students are compared with, beside the off-the-shelf embedder."""
        rankers: dict[str, Ranker] = {"bm25": bm25_ranker(self._pairs.first_stage())}
        if self._teacher:
            from reranker_distill.teacher import load_teacher

            rankers["teacher"] = load_teacher(self._teacher.result.folder).relevance
        if isinstance(self._labels, FusionStage):
            rankers["label_fusion"] = self._labels.ranker(rankers.get("teacher"))
        return rankers
