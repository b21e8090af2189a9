"""The student at work: scores (query, product) pairs with ONNX Runtime, on the CPU, without torch."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reranker.bundle import MODEL, QUERIES, TOKENIZER, VECTORS, Bundle, load_bundle
from reranker.cache import CacheState, text_digest
from reranker.demo_data import demo_file
from reranker.errors import BundleError, InputError
from reranker.neighbourhoods import Neighbourhoods, sketch_attribute_names
from reranker.onnx_model import OnnxModel
from reranker.products import Product
from reranker.scorers import BI_ENCODER, CROSS_ENCODER, DUET, BiEncoder, CrossEncoder, DuetScorer
from reranker.stored_vectors import StoredVectors, open_vectors, store_leant, store_vectors
from reranker.text import clean


class Ranked(NamedTuple):
    """A product in its new place; ``index`` is its place in the input."""

    index: int  # type: ignore[assignment]  # tuple.index is not needed here
    score: float
    product: Product | str


class Reranker:
    """A loaded bundle. Safe to share between threads.

    Use ``Reranker.load()`` for the shipped bundle, or ``Reranker.load(path)``.

    Args:
        threads: of one scoring; None takes all cores.
        cache: for how many queries what was computed is kept in memory (the query's vector, or the scores of its list of
            products), the least lately used giving way. Scores are the same with and without. Products' vectors are kept anyhow.
    """

    def __init__(self, bundle: Bundle, *, threads: int | None = None, cache: int = 0) -> None:
        self.bundle = bundle
        self.architecture = str(bundle.manifest.student.get("architecture", CROSS_ENCODER))
        self.keeps_scores = cache > 0 and self.architecture != BI_ENCODER
        """Whether ``knows`` may ever say yes."""
        self._scorer, self._vectors = _scorers(bundle, self.architecture, threads, cache)
        self.template = bundle.manifest.template

    @classmethod
    def load(cls, path: str | Path | None = None, *, threads: int | None = None, cache: int = 0) -> Reranker:
        """Load a bundle from a folder, or a shipped one by name; None is ``default``.

        Where the package brings the demo catalogue's vectors for it, they are looked up, as by ``use_vectors``.

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
        """Return what scores one request from beginning to end: itself. A ``SwitchableReranker`` returns its bundle of the moment."""
        return self

    def score(self, query: str, products: Sequence[Product | str]) -> np.ndarray:
        """Return the relevance of each product: float32 (n,), 0 to 1, higher is better, input order.

        Raises:
            InputError: the query is empty.
        """
        logits = self.raw_scores(query, products)
        calibration = self.bundle.manifest.calibration
        return (1.0 / (1.0 + np.exp(-(calibration.scale * logits + calibration.bias)))).astype(np.float32)

    def knows(self, query: str, products: Sequence[Product | str]) -> bool:
        """Say whether the scores of these products in this order are kept, so that ``score`` has next to nothing to do."""
        return self.keeps_scores and self._scorer.knows([(_words(query[:4_000]), self.template.render(product)) for product in products])

    def logits(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return the student's raw output for (query, product text) pairs: float32 (n,)."""
        return self._scorer.logits(pairs)

    def raw_scores(self, query: str, products: Sequence[Product | str]) -> np.ndarray:
        """Return the student's raw output for each product: float32 (n,), input order.

        Raises:
            InputError: the query is empty.
        """
        query = _words(query[:4_000])
        if not query:
            raise InputError("The query is empty.", hint="Give at least one word.")
        if len(products) == 0:
            return np.zeros(0, dtype=np.float32)
        return self.logits([(query, self.template.render(product)) for product in products])

    @property
    def keeps_vectors(self) -> bool:
        """Whether a product's vector is computed once and kept: a bi-encoder's, a duet's."""
        return self._vectors is not None

    def warm_up(self) -> None:
        """Find out now, with some short runs, whether queries asked at once may be read in one run, which the first of them would else wait for."""
        if self._vectors is not None:
            self._vectors.reads_queries_together()

    @property
    def vectors_made(self) -> int:
        """How many products' vectors were computed so far."""
        return self._vectors.caches()["product_vectors"].misses if self._vectors else 0

    def remember(self, products: Sequence[Product | str]) -> int:
        """Compute products' vectors ahead, as far as they are kept, and return how many were given; nothing to do for a cross-encoder."""
        if self._vectors and len(products):
            self._vectors.vectors([self.template.render(product) for product in products])
        return len(products)

    def use_vectors(self, folder: Path) -> int:
        """Look product vectors up in the folder that ``store_vectors`` filled, first; return how many of this bundle's it holds.

        Raises:
            InputError: its files cannot be read.
        """
        if self._vectors is None:
            return 0
        width = self._vectors.encode(["width"]).shape[1]
        self._vectors.stored = open_vectors(folder / self.vector_space, width)
        return len(self._vectors.stored)

    def store_vectors(
        self,
        folder: Path,
        products: Iterable[Product | str],
        *,
        neighbourhoods: Neighbourhoods | None = None,
        on_products: Callable[[int], None] | None = None,
        on_leant: Callable[[int], None] | None = None,
    ) -> int:
        """Compute the products' vectors that the folder does not hold yet, into it, and return how many those were.

        Other bundles' vectors in the folder are left alone. An interrupted run goes on where it was.

        Args:
            neighbourhoods: then each vector also leans on those of the products like it, among the ones given (see ``lean_on_neighbours``).
            on_products: told how many more products have their own vector.
            on_leant: told how many more products have leant on their neighbours.

        Raises:
            InputError: the bundle keeps no vectors (it is a cross-encoder), or the folder's files cannot be read.
        """
        if self._vectors is None:
            raise InputError(f"The bundle {self.model} is a cross-encoder: it has no product vectors.", hint="Nothing need be done ahead for it.")
        at = folder / self.vector_space
        if neighbourhoods is None:
            return store_vectors(at, self._vectors, (self.template.render(product) for product in products), on_texts=on_products)
        products = list(products)
        texts = [self.template.render(product) for product in products]
        made = store_vectors(at, self._vectors, texts, on_texts=on_products)
        store_leant(at, texts, sketch_attribute_names(products), neighbourhoods, on_texts=on_leant)
        return made

    @property
    def vectors_stored(self) -> int:
        """How many vectors ``use_vectors`` found."""
        return len(self._vectors.stored) if self._vectors else 0

    def computed_ahead(self, products: Sequence[Product | str]) -> int:
        """Return how many of the products have a vector that ``use_vectors`` found."""
        return int(self._vectors.stored.find([text_digest(self.template.render(product)) for product in products])[0].sum()) if self._vectors else 0

    @property
    def vector_space(self) -> str:
        """Sixteen characters that change with whatever changes a product's vector: weights, tokenizer, length.

        Bundles that differ only in what reads queries share it.
        """
        manifest = self.bundle.manifest
        files = [manifest.files[name].sha256 for name in (MODEL, VECTORS, TOKENIZER) if name in manifest.files]
        return blake2b(" ".join([*files, str(manifest.max_length)]).encode(), digest_size=8).hexdigest()

    def forget(self) -> None:
        """Know no vector any more: drop what ``remember`` and searches keep in memory, and no longer look up stored ones."""
        self._scorer.forget_queries()
        if self._vectors:
            self._vectors.forget()
            self._vectors.stored = StoredVectors([])

    def forget_queries(self) -> None:
        """Drop what is kept of queries; products' vectors stay."""
        self._scorer.forget_queries()

    def caches(self) -> dict[str, CacheState]:
        """Return what is kept in memory, by the kinds that the student has: ``query_vectors``, ``product_vectors``, ``pair_scores`` (an entry a list)."""
        return self._scorer.caches()

    def rerank(self, query: str, products: Sequence[Product | str], top_n: int | None = None) -> list[Ranked]:
        """Return the products best first, at most ``top_n``; equal scores keep the input order."""
        if top_n is not None and top_n < 1:
            raise InputError(f"top_n is {top_n}.", hint="Ask for at least one product.")
        scores = self.score(query, products)
        order = np.argsort(-scores, kind="stable")[:top_n]
        return [Ranked(int(i), float(scores[i]), products[int(i)]) for i in order]


def _scorers(bundle: Bundle, architecture: str, threads: int | None, cache: int) -> tuple[CrossEncoder | BiEncoder | DuetScorer, BiEncoder | None]:
    """Return what scores, and the part of it that keeps vectors.

    Raises:
        BundleError: a model is missing or cannot be loaded, or the architecture is of a later release.
    """
    scale = float(bundle.manifest.student.get("scale", 1.0))
    if architecture == CROSS_ENCODER:
        return CrossEncoder(OnnxModel(bundle, MODEL, threads), kept=cache), None
    if architecture == BI_ENCODER:
        queries = OnnxModel(bundle, QUERIES, threads) if QUERIES in bundle.manifest.files else None
        vectors = BiEncoder(OnnxModel(bundle, MODEL, threads), scale, queries_kept=cache, query_network=queries)
        return vectors, vectors
    if architecture == DUET and VECTORS in bundle.manifest.files:
        vectors = BiEncoder(OnnxModel(bundle, VECTORS, threads), scale, queries_kept=cache)
        return DuetScorer(CrossEncoder(OnnxModel(bundle, MODEL, threads), kept=cache), vectors), vectors
    raise BundleError(
        f"The bundle {bundle.path} cannot be scored: architecture {architecture}, models {', '.join(n for n in bundle.manifest.files if n.endswith('.onnx'))}.",
        hint="Copy the whole folder, or upgrade: pip install -U distilled-reranker",
    )


def _words(query: str) -> str:
    """Clean a query of symbols such as emoji, of which the student learnt nothing; a query of nothing else is kept."""
    query = clean(query)
    return clean("".join(" " if unicodedata.category(c) == "So" else c for c in query)) or query
