"""FlashRank, given the same cross-encoder as the others."""

from __future__ import annotations

import importlib.util
import logging
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.speed.contenders.checkpoint import Checkpoint
from benchmarks.speed.contenders.contender import Contender, Unavailable
from reranker.products import Product
from reranker.text import ProductTemplate, clean

_MODEL = "benchmark-cross-encoder"


class FlashRank(Contender):
    """``Ranker.rerank``. It knows only models of its own list, to which the checkpoint is added.

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
        root.handlers[:], root.level = handlers, level  # it sets up the whole program's logging
        options = ort.SessionOptions()
        options.intra_op_num_threads = checkpoint.threads  # it lets ONNX Runtime guess: on some machines one thread
        self._ranker.session = ort.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
        self._request = RerankRequest
        self._template = template
        self.no_quality = checkpoint.no_quality
        self.note = f"{checkpoint.source}; one batch a query, threads as the others'"

    def score(self, query: str, products: Sequence[Product]) -> np.ndarray:
        passages = [{"id": i, "text": self._template.render(product)} for i, product in enumerate(products)]
        scores = np.empty(len(passages), dtype=np.float32)
        for passage in self._ranker.rerank(self._request(query=clean(query), passages=passages)):
            scores[passage["id"]] = passage["score"]
        return scores
