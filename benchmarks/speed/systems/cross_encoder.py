"""The CrossEncoder of sentence-transformers, on torch or ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from benchmarks.speed.systems.shared_checkpoint import Checkpoint
from benchmarks.speed.systems.system import System
from reranker.products import Product
from reranker.text import ProductTemplate, clean

_LABELS = {"torch": "CrossEncoder, torch", "onnx": "CrossEncoder, ONNX"}


class SentenceTransformersCrossEncoder(System):
    """``CrossEncoder.predict`` with its defaults (batches of 32, sorted by length).

    Raises:
        Unavailable: there is no ONNX model, for ``onnx``.
    """

    def __init__(self, checkpoint: Checkpoint, template: ProductTemplate, *, backend: Literal["torch", "onnx"]) -> None:
        from sentence_transformers import CrossEncoder

        options: dict[str, Any] = {}
        if backend == "onnx":
            import onnxruntime as ort

            session = ort.SessionOptions()
            session.intra_op_num_threads = checkpoint.threads
            file = checkpoint.onnx.relative_to(checkpoint.folder).as_posix()
            options = {"model_kwargs": {"provider": "CPUExecutionProvider", "file_name": file, "session_options": session}}
        else:
            import torch

            torch.set_num_threads(checkpoint.threads)
        self._model: Any = CrossEncoder(str(checkpoint.folder), backend=backend, device="cpu", max_length=checkpoint.max_length, **options)
        self._template = template
        self.name = f"cross_encoder_{backend}"
        self.label = _LABELS[backend]
        self.no_quality = checkpoint.no_quality
        self.note = f"{checkpoint.source} through sentence-transformers"

    def score(self, query: str, products: Sequence[Product]) -> np.ndarray:
        query = clean(query)
        pairs = [(query, self._template.render(product)) for product in products]
        return np.asarray(self._model.predict(pairs, show_progress_bar=False), dtype=np.float32)
