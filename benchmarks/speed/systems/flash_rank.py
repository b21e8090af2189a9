"""FlashRank with the shared cross-encoder."""

from __future__ import annotations

import importlib.util
import logging
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.speed.systems.shared_checkpoint import Checkpoint
from benchmarks.speed.systems.system import System, Unavailable
from reranker.products import Product
from reranker.text import ProductTemplate, clean

_MODEL = "benchmark-cross-encoder"


class FlashRank(System):
    """``Ranker.rerank``. The library accepts only models of its own list, so the checkpoint is added to the list.

    Raises:
        Unavailable: the library or an ONNX model is missing.
    """

    name = "flashrank"
    label = "FlashRank"

    def __init__(self, checkpoint: Checkpoint, template: ProductTemplate) -> None:
        if importlib.util.find_spec("flashrank") is None:
            raise Unavailable('FlashRank is not installed: pip install "distilled-reranker[benchmark]"')
        import onnxruntime as ort
        from flashrank import Ranker, RerankRequest
        from flashrank.Ranker import model_file_map

        cache = checkpoint.folder.parent / "flashrank"
        folder = cache / _MODEL
        shutil.copytree(checkpoint.folder, folder, ignore=shutil.ignore_patterns("*.safetensors", "onnx"))
        shutil.copyfile(checkpoint.onnx, folder / "model.onnx")
        model_file_map[_MODEL] = "model.onnx"
        root = logging.getLogger()
        handlers, level = list(root.handlers), root.level
        self._ranker: Any = Ranker(model_name=_MODEL, cache_dir=str(cache), max_length=checkpoint.max_length)
        root.handlers[:], root.level = handlers, level  # the library reconfigures the root logger
        options = ort.SessionOptions()
        options.intra_op_num_threads = checkpoint.threads  # the library leaves the number to ONNX Runtime, which picks one on some machines
        self._ranker.session = ort.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
        self._request = RerankRequest
        self._template = template
        self.no_quality = checkpoint.no_quality
        self.note = f"{checkpoint.source}; one batch for each query, the same threads as the other systems"

    def score(self, query: str, products: Sequence[Product]) -> np.ndarray:
        passages = [{"id": i, "text": self._template.render(product)} for i, product in enumerate(products)]
        scores = np.empty(len(passages), dtype=np.float32)
        for passage in self._ranker.rerank(self._request(query=clean(query), passages=passages)):
            scores[passage["id"]] = passage["score"]
        return scores
