"""The student at work: scores (query, product) pairs with ONNX Runtime, on the CPU, without torch."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reranker.bundle import Bundle, load_bundle
from reranker.errors import BundleError, InputError
from reranker.network import Network
from reranker.products import Product
from reranker.scorers import ARCHITECTURES, BI_ENCODER, CROSS_ENCODER, PairScorer, VectorScorer
from reranker.text import clean


class Ranked(NamedTuple):
    """A product in its new place; ``index`` is its place in the input."""

    index: int  # type: ignore[assignment]  # tuple.index is not needed here
    score: float
    product: Product | str


class Reranker:
    """A loaded bundle. Safe to share between threads.

    Use ``Reranker.load()`` for the shipped bundle, ``Reranker.load("fast")`` for the shipped small one, or ``Reranker.load(path)``.
    """

    def __init__(self, bundle: Bundle, *, threads: int | None = None) -> None:
        self.bundle = bundle
        student = bundle.manifest.student
        self.architecture = str(student.get("architecture", CROSS_ENCODER))
        if self.architecture not in ARCHITECTURES:
            raise BundleError(
                f"The bundle {bundle.path} is of an unknown architecture: {self.architecture}.", hint="Upgrade: pip install -U distilled-reranker"
            )
        network = Network(bundle, threads)
        self._scorer = VectorScorer(network, float(student.get("scale", 1.0))) if self.architecture == BI_ENCODER else PairScorer(network)
        self.template = bundle.manifest.template

    @classmethod
    def load(cls, path: str | Path | None = None, *, threads: int | None = None) -> Reranker:
        """Load a bundle from a folder, or a shipped one by name: ``default`` (None too) or ``fast``.

        Raises:
            BundleError: it is incomplete, corrupt or of a later format.
        """
        return cls(load_bundle(path), threads=threads)

    def score(self, query: str, products: Sequence[Product | str]) -> np.ndarray:
        """Return the relevance of each product: float32 (n,), 0 to 1, higher is better, input order.

        Raises:
            InputError: the query is empty.
        """
        query = _words(query[:4_000])
        if not query:
            raise InputError("The query is empty.", hint="Give at least one word.")
        if len(products) == 0:
            return np.zeros(0, dtype=np.float32)
        logits = self.logits([(query, self.template.render(product)) for product in products])
        calibration = self.bundle.manifest.calibration
        return (1.0 / (1.0 + np.exp(-(calibration.scale * logits + calibration.bias)))).astype(np.float32)

    def logits(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return the student's raw output for (query, product text) pairs: float32 (n,)."""
        return self._scorer.logits(pairs)

    @property
    def keeps_vectors(self) -> bool:
        """Whether a product's vector is computed once and kept (a bi-encoder), so that only the query is read at search time."""
        return isinstance(self._scorer, VectorScorer)

    def remember(self, products: Sequence[Product | str]) -> int:
        """Compute products' vectors ahead, as far as they are kept, and return how many were given; nothing to do for a cross-encoder."""
        if isinstance(self._scorer, VectorScorer) and len(products):
            self._scorer.vectors([self.template.render(product) for product in products])
        return len(products)

    def forget(self) -> None:
        """Drop what ``remember`` and searches keep."""
        if isinstance(self._scorer, VectorScorer):
            self._scorer.forget()

    def rerank(self, query: str, products: Sequence[Product | str], top_n: int | None = None) -> list[Ranked]:
        """Return the products best first, at most ``top_n``; equal scores keep the input order."""
        if top_n is not None and top_n < 1:
            raise InputError(f"top_n is {top_n}.", hint="Ask for at least one product.")
        scores = self.score(query, products)
        order = np.argsort(-scores, kind="stable")[:top_n]
        return [Ranked(int(i), float(scores[i]), products[int(i)]) for i in order]


def _words(query: str) -> str:
    """Clean a query of symbols such as emoji, of which the student learnt nothing; a query of nothing else is kept."""
    query = clean(query)
    return clean("".join(" " if unicodedata.category(c) == "So" else c for c in query)) or query
