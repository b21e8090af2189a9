"""The student at work: scores (query, product) pairs with ONNX Runtime, on the CPU, without torch."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reranker.bundle import MODEL, TOKENIZER, Bundle, load_bundle
from reranker.errors import BundleError, InputError
from reranker.products import Product
from reranker.text import clean

TOKENS_PER_BATCH = 2_048
"""Rows × longest row of one ONNX run: enough to keep the cores busy, small enough to stay in cache."""


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
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else it keeps a device id in the home folder
        import onnxruntime as ort
        from tokenizers import Tokenizer

        self.bundle = bundle
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or _cores()
        options.log_severity_level = 3
        options.add_session_config_entry("session.disable_quant_qdq", "1")  # weights stored in int8 are made floats once, at loading
        try:
            self._tokenizer = Tokenizer.from_file(str(bundle.path / TOKENIZER))
            self._session = ort.InferenceSession(str(bundle.path / MODEL), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # both libraries raise bare exceptions of their own
            raise BundleError(f"The bundle {bundle.path} cannot be loaded: {error}", hint="Distil it again, or use the shipped bundle.") from error
        self._tokenizer.enable_truncation(bundle.manifest.max_length, strategy="longest_first")
        self._tokenizer.no_padding()
        self._inputs = [i.name for i in self._session.get_inputs()]
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
        """Return the student's raw output for (query, product text) pairs: float32 (n,).

        Pairs are sorted by length and cut into batches of nearly equal lengths, so that padding costs little.
        """
        encodings = self._tokenizer.encode_batch(list(pairs))
        order = sorted(range(len(encodings)), key=lambda i: len(encodings[i].ids))
        out = np.empty(len(encodings), dtype=np.float32)
        for batch in _batches(order, [len(e.ids) for e in encodings]):
            width = len(encodings[batch[-1]].ids)
            feeds = {name: np.zeros((len(batch), width), dtype=np.int64) for name in self._inputs}
            for row, i in enumerate(batch):
                encoding, n = encodings[i], len(encodings[i].ids)
                feeds["input_ids"][row, :n] = encoding.ids
                feeds["attention_mask"][row, :n] = 1
                if "token_type_ids" in feeds:
                    feeds["token_type_ids"][row, :n] = encoding.type_ids
            out[batch] = self._session.run(None, feeds)[0].reshape(len(batch), -1)[:, 0]
        return out

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


def _batches(order: list[int], lengths: list[int]) -> list[list[int]]:
    """Cut pairs sorted by length into runs of at most ``TOKENS_PER_BATCH`` padded tokens."""
    batches: list[list[int]] = []
    for i in order:
        if batches and (len(batches[-1]) + 1) * lengths[i] <= TOKENS_PER_BATCH:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
