"""Products near a query in meaning, by an off-the-shelf embedder: BM25 finds no notebooks for "laptop"."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reranker.errors import RecipeError
from reranker.folders import whole_file
from reranker.products import Product
from reranker.text import ProductTemplate, clean
from reranker_distill.checkpoints import resolve_checkpoint

MAX_TOKENS = 64  # title and brand; more costs time and tells the vector little
_AT_A_TIME = 512


class ProductVectors:
    """A catalogue's vectors and the model that made them; a ``candidates.Similar``.

    ``ids`` are the products', in the order of the rows of ``vectors``, float32 (n, width) of unit length.
    """

    def __init__(self, model: Any, ids: Sequence[str], vectors: np.ndarray) -> None:
        self._model = model
        self.ids = list(ids)
        self.vectors = vectors.astype(np.float32)

    def encode(self, queries: Sequence[str]) -> np.ndarray:
        """Return the queries' vectors, float32 (queries, width) of unit length."""
        return _encode(self._model, [clean(q) for q in queries])

    def nearest(self, queries: Sequence[str], k: int) -> list[list[str]]:
        """Return the ids of the ``k`` products nearest to each query by cosine, nearest first."""
        k = min(k, len(self.ids))
        if k < 1 or not queries:
            return [[] for _ in queries]
        found: list[list[str]] = []
        for start in range(0, len(queries), _AT_A_TIME):
            cosines = self.encode(queries[start : start + _AT_A_TIME]) @ self.vectors.T
            order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
            found += [[self.ids[i] for i in row] for row in order]
        return found


def embed_products(
    products: Mapping[str, Product],
    *,
    embedder: str,
    template: ProductTemplate,
    folder: Path,
    models: Path,
    on_products: Callable[[int], None] | None = None,
) -> ProductVectors:
    """Encode the catalogue once and keep the vectors in ``folder``, whole or not at all; a file of the same texts is reused.

    Args:
        embedder: a checkpoint's name, as ``resolve_checkpoint`` takes it.
        models: where an unpacked checkpoint is kept.
        on_products: told how many more products have their vector.

    Raises:
        RecipeError: the embedder cannot be loaded.
    """
    checkpoint = resolve_checkpoint(embedder, models)
    texts = [template.render(product) for product in products.values()]
    digest = hashlib.sha256("\n".join([embedder, str(MAX_TOKENS), *products, *texts]).encode()).hexdigest()[:12]
    path = folder / f"product-vectors-{digest}.npy"
    model = _load(checkpoint, embedder)
    if path.is_file():
        vectors = np.load(path)
        if on_products:
            on_products(len(texts))
    else:
        vectors = _encode_all(model, texts, on_products)
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as staging:
            np.save(staging, vectors)
    return ProductVectors(model, list(products), vectors)


def _load(checkpoint: str, name: str) -> Any:
    from sentence_transformers import SentenceTransformer

    try:
        model = SentenceTransformer(checkpoint)
    except Exception as error:  # hub, network and file errors, each library with types of its own
        raise RecipeError(f"The embedder {name} cannot be loaded: {error}", hint='Name another in embedder.model, or none: [embedder] model = ""') from error
    model.max_seq_length = min(MAX_TOKENS, model.max_seq_length or MAX_TOKENS)
    return model


def _encode_all(model: Any, texts: Sequence[str], on_products: Callable[[int], None] | None) -> np.ndarray:
    """Return float16 (n, width); the shortest texts go first, so that little is padded."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    vectors = np.zeros((len(texts), _encode(model, ["a"]).shape[1]), dtype=np.float16)
    for start in range(0, len(order), _AT_A_TIME):
        rows = order[start : start + _AT_A_TIME]
        vectors[rows] = _encode(model, [texts[i] for i in rows])
        if on_products:
            on_products(len(rows))
    return vectors


def _encode(model: Any, texts: Sequence[str]) -> np.ndarray:
    vectors: np.ndarray = model.encode(list(texts), batch_size=64, convert_to_numpy=True, normalize_embeddings=True, show_progress_bar=False)
    return vectors
