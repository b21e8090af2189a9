"""Catalogue vectors of an off-the-shelf embedder: products near a query in meaning, and their cosine as a label."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reranker.errors import RecipeError
from reranker.folders import whole_file
from reranker.products import Product
from reranker.text import ProductTemplate, clean
from reranker_distill.checkpoints import resolve_checkpoint

MAX_TOKENS = 64  # title and brand; more costs time and adds little to the vector
_CHUNK = 512
_FILE = "product-vectors.npy"


class ProductVectors:
    """A catalogue's vectors and the model that made them.

    ``ids`` are the products', in the order of the rows of ``vectors``, float32 (n, width) of unit length.
    """

    def __init__(self, model: Any, ids: Sequence[str], vectors: np.ndarray) -> None:
        self._model = model
        self.ids = list(ids)
        self.vectors = vectors.astype(np.float32)
        self._rows = {product_id: row for row, product_id in enumerate(self.ids)}

    def nearest(self, queries: Sequence[str], k: int) -> list[list[str]]:
        """Return the ids of the ``k`` products nearest to each query by cosine, nearest first."""
        k = min(k, len(self.ids))
        if k < 1 or not queries:
            return [[] for _ in queries]
        found: list[list[str]] = []
        for start in range(0, len(queries), _CHUNK):
            cosines = self._encode(queries[start : start + _CHUNK]) @ self.vectors.T
            order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
            found += [[self.ids[i] for i in row] for row in order]
        return found

    def scores(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return the cosine of each (query, product id) pair: float32 (n,)."""
        queries = list(dict.fromkeys(query for query, _ in pairs))
        if not queries:
            return np.zeros(0, dtype=np.float32)
        by_query = dict(zip(queries, self._encode(queries), strict=True))
        return np.array([by_query[query] @ self.vectors[self._rows[product_id]] for query, product_id in pairs], dtype=np.float32)

    def _encode(self, queries: Sequence[str]) -> np.ndarray:
        return _encode(self._model, [clean(query) for query in queries])


def embed_products(
    products: Mapping[str, Product],
    *,
    embedder: str,
    template: ProductTemplate,
    folder: Path,
    models: Path,
    on_products: Callable[[int], None] | None = None,
) -> ProductVectors:
    """Encode the catalogue and store the vectors in ``folder``, whole or not at all.

    Args:
        embedder: a checkpoint's name, as ``resolve_checkpoint`` takes it.
        models: where an unpacked checkpoint is kept.
        on_products: called with how many more products are encoded.

    Raises:
        RecipeError: the embedder cannot be loaded.
    """
    model = _load(embedder, models)
    vectors = _encode_all(model, [template.render(product) for product in products.values()], on_products)
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / _FILE) as staging:
        np.save(staging, vectors)
    return ProductVectors(model, list(products), vectors)


def load_product_vectors(products: Mapping[str, Product], *, embedder: str, folder: Path, models: Path) -> ProductVectors:
    """Return what ``embed_products`` stored in ``folder`` for the same products.

    Raises:
        RecipeError: the embedder cannot be loaded.
    """
    return ProductVectors(_load(embedder, models), list(products), np.load(folder / _FILE))


def _load(name: str, models: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    try:
        model = SentenceTransformer(resolve_checkpoint(name, models))
    except Exception as error:  # hub, network and file errors have types of each library
        raise RecipeError(f"The embedder {name} cannot be loaded: {error}", hint='Name another in embedder.model, or none: [embedder] model = ""') from error
    model.max_seq_length = min(MAX_TOKENS, model.max_seq_length or MAX_TOKENS)
    return model


def _encode_all(model: Any, texts: Sequence[str], on_products: Callable[[int], None] | None) -> np.ndarray:
    """Return float16 (n, width); texts are encoded by length, so that little is padded."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    vectors = np.zeros((len(texts), _encode(model, ["a"]).shape[1]), dtype=np.float16)
    for start in range(0, len(order), _CHUNK):
        rows = order[start : start + _CHUNK]
        vectors[rows] = _encode(model, [texts[i] for i in rows])
        if on_products:
            on_products(len(rows))
    return vectors


def _encode(model: Any, texts: Sequence[str]) -> np.ndarray:
    vectors: np.ndarray = model.encode(list(texts), batch_size=64, convert_to_numpy=True, normalize_embeddings=True, show_progress_bar=False)
    return vectors
