"""The stage that exports a trained student as ONNX."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reranker_distill.pairs import labelled_in
from reranker_distill.recipe import Student
from reranker_distill.stages.stage import EXPORT, Stage, Workspace
from reranker_distill.stages.student import stage_name


class ExportStage(Stage):
    """Exports a student; ``product_export`` is the export of the bi-encoder that encodes products for a query encoder."""

    def __init__(self, workspace: Workspace, student: str, settings: Student, trained: Stage, labels: Stage, product_export: Stage | None = None) -> None:
        self.name = stage_name(EXPORT, student)
        self._workspace, self._settings, self._trained, self._labels, self._product_export = workspace, settings, trained, labels, product_export

    def reads(self) -> Mapping[str, Any]:
        products = self._product_export.result.fingerprint if self._product_export else None
        return {"student": self._trained.result.fingerprint, "products": products}

    def run(self, folder: Path) -> dict[str, Any]:
        from reranker_distill.export import CALIBRATION_PAIRS, export_student, model_file

        workspace = self._workspace
        labelled = labelled_in(self._labels.result.folder)
        sample = random.Random(workspace.seed).sample(labelled, min(CALIBRATION_PAIRS, len(labelled)))
        return export_student(
            self._trained.result.folder,
            folder,
            pairs=[(pair.query, workspace.template.render(workspace.products[pair.product_id])) for pair in sample],
            max_length=self._settings.max_length,
            product_model=model_file(self._product_export.result.folder, "fp32") if self._product_export else None,
        )
