"""Scores (query, product) pairs with a bundle's student, in ONNX Runtime on the CPU, without torch."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reranker.bi_encoder import BiEncoder
from reranker.bundle import BI_ENCODER, CROSS_ENCODER, MODEL, QUERIES, TOKENIZER, Bundle, load_bundle
from reranker.cache import CacheState
from reranker.cross_encoder import CrossEncoder
from reranker.demo_data import demo_file
from reranker.errors import BundleError, InputError
from reranker.first_stage import MAX_QUERY_CHARACTERS
from reranker.onnx_model import OnnxModel
from reranker.products import Product
from reranker.scorer import Encoder, Scorer
from reranker.stored_vectors import StoredVectors, open_vectors, store_vectors
from reranker.text import clean


class Ranked(NamedTuple):
    """A product of a ranking; ``index`` is its position in the input."""

    index: int  # type: ignore[assignment]  # tuple.index is not needed here
    score: float
    product: Product | str


class Reranker(Scorer):
    """A loaded bundle. Thread-safe.

    Use ``Reranker.load()`` for the shipped bundle, or ``Reranker.load(path)``.

    Args:
        threads: threads of one scoring; None takes all cores.
        cache: number of queries whose results are cached: the query's vector (bi-encoder), or the scores of its list of products
            (cross-encoder). Scores are the same with and without. Product vectors are cached in any case.
    """

    def __init__(self, bundle: Bundle, *, threads: int | None = None, cache: int = 0) -> None:
        self.bundle = bundle
        self.architecture = str(bundle.manifest.student.get("architecture", CROSS_ENCODER))
        self.template = bundle.manifest.template
        self.on_scored: Callable[[str, Sequence[Product | str], np.ndarray], None] | None = None
        """Called with the query, the products and their scores after each scoring, in the thread that scored; must not raise."""
        self._encoder: Encoder
        self._vectors: BiEncoder | None = None
        if self.architecture == CROSS_ENCODER:
            self._encoder = CrossEncoder(OnnxModel(bundle, MODEL, threads), cache_size=cache)
        elif self.architecture == BI_ENCODER:
            scale = float(bundle.manifest.student.get("scale", 1.0))
            query_model = OnnxModel(bundle, QUERIES, threads) if QUERIES in bundle.manifest.files else None
            self._encoder = self._vectors = BiEncoder(OnnxModel(bundle, MODEL, threads), scale, cached_queries=cache, query_model=query_model)
        else:
            raise BundleError(
                f"The bundle {bundle.path} has the architecture {self.architecture}, which this release does not know.",
                hint="Upgrade: pip install -U distilled-reranker",
            )

    @classmethod
    def load(cls, path: str | Path | None = None, *, threads: int | None = None, cache: int = 0) -> Reranker:
        """Load a bundle from a folder, or a shipped one by name; None is ``default``.

        If the package contains the demo catalogue's vectors for this bundle, they are used, as by ``use_vectors``.

        Raises:
            BundleError: it is incomplete, corrupt or of a later format.
        """
        loaded = cls(load_bundle(path), threads=threads, cache=cache)
        if loaded._vectors is not None:
            loaded._vectors.stored = open_vectors(demo_file("vectors") / loaded.vector_space)
        return loaded

    @property
    def model(self) -> str:
        """Name and version of the bundle, ``name@version``."""
        return f"{self.bundle.manifest.name}@{self.bundle.version}"

    def pin(self) -> Reranker:
        """Return itself: its bundle never changes."""
        return self

    def score(self, query: str, products: Sequence[Product | str]) -> np.ndarray:
        """Return the relevance of each product: float32 (n,), 0 to 1, higher is better, input order.

        Raises:
            InputError: the query is empty.
        """
        calibration = self.bundle.manifest.calibration
        logits = self._raw_scores(query, products)
        return self._reported(query, products, (1.0 / (1.0 + np.exp(-(calibration.scale * logits + calibration.bias)))).astype(np.float32))

    def raw_scores(self, query: str, products: Sequence[Product | str]) -> np.ndarray:
        """Return each product's score before calibration: float32 (n,), input order.

        Raises:
            InputError: the query is empty.
        """
        return self._reported(query, products, self._raw_scores(query, products))

    def _raw_scores(self, query: str, products: Sequence[Product | str]) -> np.ndarray:
        pairs = self._pairs(query, products)
        return self.logits(pairs) if pairs else np.zeros(0, dtype=np.float32)

    def _reported(self, query: str, products: Sequence[Product | str], scores: np.ndarray) -> np.ndarray:
        if self.on_scored is not None:
            self.on_scored(query, products, scores)
        return scores

    def rerank(self, query: str, products: Sequence[Product | str], top_n: int | None = None) -> list[Ranked]:
        """Return the products best first, at most ``top_n``; equal scores keep the input order.

        Raises:
            InputError: the query is empty, or ``top_n`` is below 1.
        """
        if top_n is not None and top_n < 1:
            raise InputError(f"top_n is {top_n}.", hint="Ask for at least one product.")
        scores = self.score(query, products)
        order = np.argsort(-scores, kind="stable")[:top_n]
        return [Ranked(int(i), float(scores[i]), products[int(i)]) for i in order]

    def logits(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return the student's score of (query, product text) pairs before calibration: float32 (n,)."""
        return self._encoder.logits(pairs)

    # --- caches and stored vectors ------------------------------------------------------------------------------------

    @property
    def keeps_vectors(self) -> bool:
        """Whether each product has a vector that is computed once and kept: True for a bi-encoder."""
        return self._vectors is not None

    @property
    def vectors_computed(self) -> int:
        """How many product vectors were computed so far."""
        return self._vectors.cache_states()["product_vectors"].misses if self._vectors else 0

    @property
    def vectors_stored(self) -> int:
        """How many vectors ``use_vectors`` found."""
        return len(self._vectors.stored) if self._vectors else 0

    @property
    def vector_space(self) -> str:
        """Sixteen characters that identify a bundle's product vectors: they change with weights, tokenizer and maximal length.

        Bundles that differ only in their query encoder have the same.
        """
        manifest = self.bundle.manifest
        files = [manifest.files[name].sha256 for name in (MODEL, TOKENIZER)]
        return blake2b(" ".join([*files, str(manifest.max_length)]).encode(), digest_size=8).hexdigest()

    def precompute(self, products: Sequence[Product | str]) -> None:
        """Compute and cache product vectors before they are needed; does nothing for a cross-encoder."""
        if self._vectors and len(products):
            self._vectors.product_vectors([self.template.render(product) for product in products])

    def use_vectors(self, folder: Path) -> int:
        """Use the product vectors that ``store_vectors`` wrote to the folder; return how many it holds for this bundle.

        Raises:
            InputError: its files cannot be read.
        """
        if self._vectors is None:
            return 0
        width = self._vectors.encode(["width"]).shape[1]
        self._vectors.stored = open_vectors(folder / self.vector_space, width)
        return len(self._vectors.stored)

    def store_vectors(self, folder: Path, products: Iterable[Product | str], *, on_products: Callable[[int], None] | None = None) -> int:
        """Compute the product vectors that the folder lacks, write them to it, and return how many those were.

        Vectors of other bundles in the folder are left alone. An interrupted run can be continued.

        Args:
            on_products: called with the number of further products done.

        Raises:
            InputError: the bundle is a cross-encoder, or the folder's files cannot be read.
        """
        if self._vectors is None:
            raise InputError(f"The bundle {self.model} is a cross-encoder: it has no product vectors.", hint="It needs none: serve it as it is.")
        texts = (self.template.render(product) for product in products)
        return store_vectors(folder / self.vector_space, self._vectors.encode, texts, on_texts=on_products)

    def clear_caches(self) -> None:
        """Drop everything that is cached, and stop using stored vectors."""
        self._encoder.clear_query_cache()
        if self._vectors:
            self._vectors.clear_product_cache()
            self._vectors.stored = StoredVectors([])

    def clear_query_cache(self) -> None:
        """Drop what is cached per query; product vectors stay."""
        self._encoder.clear_query_cache()

    def caches(self) -> dict[str, CacheState]:
        """Return the state of each cache: ``query_vectors`` and ``product_vectors``, or ``pair_scores`` (one entry per list)."""
        return self._encoder.cache_states()

    def _pairs(self, query: str, products: Sequence[Product | str]) -> list[tuple[str, str]]:
        query = _without_symbols(query[: 4 * MAX_QUERY_CHARACTERS])
        if not query:
            raise InputError("The query is empty.", hint="Give at least one word.")
        return [(query, self.template.render(product)) for product in products]


def _without_symbols(query: str) -> str:
    """Remove symbols such as emoji, which the student was not trained on; a query of nothing else is kept."""
    query = clean(query)
    return clean("".join(" " if unicodedata.category(c) == "So" else c for c in query)) or query
