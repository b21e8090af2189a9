"""A trained student's scores, in floats, before it is exported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import CrossEncoder, SentenceTransformer

from reranker_distill.student.bi_encoder import is_bi_encoder, scale_of
from reranker_distill.student.start_points import device


def load_scores(student: Path) -> Callable[[Sequence[tuple[str, str]]], np.ndarray]:
    """Return a trained student as a function of (query, product text) pairs that gives its scores, float32 (n,)."""
    if not is_bi_encoder(student):
        model = CrossEncoder(str(student), device=device())
        return lambda pairs: np.asarray(model.predict(list(pairs), batch_size=64, show_progress_bar=False), dtype=np.float32)
    embedder, scale = SentenceTransformer(str(student), device=device()), scale_of(student)

    def cosines(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))
        vectors = embedder.encode(texts, batch_size=64, convert_to_numpy=True, normalize_embeddings=True, show_progress_bar=False)
        rows: dict[str, Any] = dict(zip(texts, vectors, strict=True))
        return np.array([scale * float(rows[query] @ rows[product]) for query, product in pairs], dtype=np.float32)

    return cosines
