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
from reranker.cache import DEFAULT_CACHE_BYTES, CacheState
from reranker.cross_encoder import CrossEncoder
from reranker.demo_data import demo_file
from reranker.errors import BundleError, InputError
from reranker.first_stage import MAX_QUERY_CHARACTERS
from reranker.onnx_model import OnnxModel
from reranker.products import Product
from reranker.scorer import Encoder, Scorer
from reranker.stored_vectors import StoredVectors, open_vectors, store_vectors
from reranker.text import clean

MAX_SCALE = 1e6
"""Largest factor of a bi-encoder's cosine; scores stay finite."""


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
        cache_bytes: limit of all caches together, in bytes.

    Raises:
        BundleError: the bundle cannot be loaded, or its model has other inputs than this release gives.
    """

    def __init__(self, bundle: Bundle, *, threads: int | None = None, cache: int = 0, cache_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        self.bundle = bundle
        self.architecture = str(bundle.manifest.student.get("architecture", CROSS_ENCODER))
        self.template = bundle.manifest.template
        self.on_scored: Callable[[str, Sequence[Product | str], Sequence[str], np.ndarray], None] | None = None
        """Called after each scoring, in the thread that scored, with the query as the student read it, the products, their texts and scores. Must not raise."""
        if self.architecture not in (CROSS_ENCODER, BI_ENCODER):
            raise BundleError(
                f"The bundle {bundle.path} has the architecture {self.architecture[:40]!r}, which this release does not know.",
                hint="Upgrade: pip install -U distilled-reranker",
            )
        wanted = (MODEL, QUERIES) if self.architecture == BI_ENCODER and QUERIES in bundle.manifest.files else (MODEL,)
        self.models = {name: OnnxModel(bundle, name, threads) for name in wanted}
        """The bundle's models by their file's name."""
        self._encoder = self.encoder(cached_queries=cache, cache_bytes=cache_bytes)
        self._vectors = self._encoder if isinstance(self._encoder, BiEncoder) else None

    @classmethod
    def load(cls, path: str | Path | None = None, *, threads: int | None = None, cache: int = 0, cache_bytes: int = DEFAULT_CACHE_BYTES) -> Reranker:
        """Load a bundle from a folder, or a shipped one by name; None is ``default``.

        Files are checked against the manifest, and the model must have the right inputs. What only scoring shows is not checked:
        ``reranker bundle verify`` does, and a service before it uses a bundle.
        If the package contains the demo catalogue's vectors for this bundle, they are used, as by ``use_vectors``.

        Raises:
            BundleError: it is incomplete, corrupt or of a later format.
        """
        loaded = cls(load_bundle(path), threads=threads, cache=cache, cache_bytes=cache_bytes)
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
        query, texts = self._read(query, products)
        return self._reported(query, products, texts, self.score_texts(query, texts))

    def score_texts(self, query: str, texts: Sequence[str]) -> np.ndarray:
        """Return the relevance, as ``score``, of texts that ``template`` made. ``on_scored`` is not called."""
        return self.calibrated(self._raw_scores(query, texts))

    def calibrated(self, logits: np.ndarray) -> np.ndarray:
        """Return the relevance of scores before calibration: float32 (n,), 0 to 1."""
        calibration = self.bundle.manifest.calibration
        relevance: np.ndarray = 1.0 / (1.0 + np.exp(-(calibration.scale * logits + calibration.bias)))
        return relevance.astype(np.float32)

    def raw_scores(self, query: str, products: Sequence[Product | str]) -> np.ndarray:
        """Return each product's score before calibration: float32 (n,), input order.

        Raises:
            InputError: the query is empty.
        """
        query, texts = self._read(query, products)
        return self._reported(query, products, texts, self._raw_scores(query, texts))

    def _raw_scores(self, query: str, texts: Sequence[str]) -> np.ndarray:
        return self.logits([(query, text) for text in texts]) if texts else np.zeros(0, dtype=np.float32)

    def _reported(self, query: str, products: Sequence[Product | str], texts: Sequence[str], scores: np.ndarray) -> np.ndarray:
        if self.on_scored is not None:
            self.on_scored(query, products, texts, scores)
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

    def encoder(self, *, cached_queries: int = 0, cache_bytes: int = 0) -> Encoder:
        """Return an encoder with caches of its own, by default with none, that runs this object's models.

        Raises:
            BundleError: the manifest's scale is not a number.
        """
        if self.architecture == CROSS_ENCODER:
            return CrossEncoder(self.models[MODEL], cached_lists=cached_queries, cache_bytes=cache_bytes)
        scale = self.bundle.manifest.student.get("scale", 1.0)
        if not isinstance(scale, int | float) or not abs(scale) <= MAX_SCALE:
            raise BundleError(f"The manifest of the bundle {self.bundle.path} has a wrong scale of the student.", hint="Distil the bundle again.")
        return BiEncoder(self.models[MODEL], float(scale), cached_queries=cached_queries, cache_bytes=cache_bytes, query_model=self.models.get(QUERIES))

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

    def limit_caches(self, max_bytes: int) -> None:
        """Change the limit of all caches together, in bytes. What no longer fits is evicted."""
        self._encoder.limit_caches(max_bytes)

    def clear_query_cache(self) -> None:
        """Drop what is cached per query; product vectors stay."""
        self._encoder.clear_query_cache()

    def caches(self) -> dict[str, CacheState]:
        """Return the state of each cache: ``query_vectors`` and ``product_vectors``, or ``pair_scores`` (one entry per list)."""
        return self._encoder.cache_states()

    def _read(self, query: str, products: Sequence[Product | str]) -> tuple[str, list[str]]:
        query = _without_symbols(query[: 4 * MAX_QUERY_CHARACTERS])
        if not query:
            raise InputError("The query is empty.", hint="Give at least one word.")
        return query, [self.template.render(product) for product in products]


def _without_symbols(query: str) -> str:
    """Remove symbols such as emoji, which the student was not trained on; a query of nothing else is kept."""
    query = clean(query)
    return clean("".join(" " if unicodedata.category(c) == "So" else c for c in query)) or query
