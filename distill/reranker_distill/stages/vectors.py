"""The stage that encodes the catalogue by the off-the-shelf embedder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reranker_distill.checkpoints import files_of
from reranker_distill.product_vectors import ProductVectors, embed_products, load_product_vectors
from reranker_distill.stages.stage import VECTORS, Stage, Workspace


class VectorsStage(Stage):
    """Stores the embedder's vector of each product."""

    name = VECTORS
    shareable = True

    def __init__(self, workspace: Workspace, embedder: str) -> None:
        self._workspace, self._embedder = workspace, embedder

    def reads(self) -> Mapping[str, Any]:
        return {**self._workspace.catalogue, "model": self._embedder, **files_of(self._embedder)}

    def run(self, folder: Path) -> dict[str, Any]:
        workspace = self._workspace
        with workspace.progress("encoding products", len(workspace.products)) as advance:
            vectors = embed_products(
                workspace.products, embedder=self._embedder, template=workspace.template, folder=folder, models=workspace.models, on_products=advance
            )
        return {"products": len(vectors.ids), "width": vectors.vectors.shape[1]}

    def load(self) -> ProductVectors:
        """Return the stored vectors with their model."""
        workspace = self._workspace
        return load_product_vectors(workspace.products, embedder=self._embedder, folder=self.result.folder, models=workspace.models)
