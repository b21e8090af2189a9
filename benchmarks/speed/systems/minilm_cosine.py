"""The untrained all-MiniLM-L6-v2 through sentence-transformers, with product vectors computed ahead."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import numpy as np

from benchmarks.speed.systems.system import System, Unavailable
from reranker.evaluation.embedder import HUB_NAME, packaged_checkpoint
from reranker.products import Product
from reranker.text import ProductTemplate, clean


class MiniLmCosine(System):
    """Vectors are cached by product text, as in a bundle, so that both do the same work for a query.

    Args:
        template: how products become text.
        max_length: tokens of a text that are read.

    Raises:
        Unavailable: sentence-transformers or the checkpoint is missing.
    """

    name = "minilm_cosine"
    label = "MiniLM cosine, products known"

    def __init__(self, template: ProductTemplate, max_length: int) -> None:
        if importlib.util.find_spec("sentence_transformers") is None:
            raise Unavailable('sentence-transformers is not installed: pip install "distilled-reranker[benchmark]"')
        from sentence_transformers import SentenceTransformer

        source = packaged_checkpoint() or HUB_NAME
        try:
            self._model = SentenceTransformer(source, device="cpu")
        except Exception as error:  # hub, network and file errors: each library has its own types
            raise Unavailable(f'{source} cannot be loaded ({type(error).__name__}): pip install "distilled-reranker[checkpoints]"') from error
        self._model.max_seq_length = max_length
        self._template = template
        self._vectors: dict[str, np.ndarray] = {}

    def prepare(self, products: Sequence[Product]) -> None:
        self._learn([self._template.render(product) for product in products])

    def score(self, query: str, products: Sequence[Product]) -> np.ndarray:
        texts = [self._template.render(product) for product in products]
        self._learn(texts)
        asked = self._encode([clean(query)])[0]
        cosines: np.ndarray = np.stack([self._vectors[text] for text in texts]) @ asked
        return cosines

    def _learn(self, texts: Sequence[str]) -> None:
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new:
            self._vectors.update(zip(new, self._encode(new), strict=True))

    def _encode(self, texts: list[str]) -> np.ndarray:
        vectors: np.ndarray = self._model.encode(texts, convert_to_numpy=True, normalize_embeddings=True, show_progress_bar=False)
        return vectors
