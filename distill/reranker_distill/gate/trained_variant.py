"""A student as its stages left it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from reranker.bundle import MODEL, QUERIES
from reranker_distill.export import PRECISIONS, model_file
from reranker_distill.recipe import Student
from reranker_distill.stage_folder import StageResult


class TrainedVariant(NamedTuple):
    """A trained and exported student; ``products`` is the bi-encoder that encodes products for a query encoder."""

    name: str
    settings: Student
    student: StageResult
    export: StageResult
    products: TrainedVariant | None = None

    @property
    def precision(self) -> str:
        """The precision that the export chose; of two models, the more faithful."""
        chosen = [export.report["precision"] for export in (self.export, self.products and self.products.export) if export]
        return max(chosen, key=PRECISIONS.index)

    def models(self, precision: str) -> dict[str, Path]:
        """Return the model files of its bundle in a precision, by their names there."""
        own = model_file(self.export.folder, precision)
        return {MODEL: model_file(self.products.export.folder, precision), QUERIES: own} if self.products else {MODEL: own}
