"""An ONNX model with its tokenizer: runs texts, or pairs of texts, in batches with little padding."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from reranker.bundle import TOKENIZER, Bundle
from reranker.errors import BundleError
from reranker.text import clean

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""What a model reads, int64 (batch, tokens) each; the last may be missing."""
TOKENS_PER_BATCH = 2_048
"""Rows × longest row of one run: enough to keep the cores busy, small enough to stay in the processor's cache."""


class OnnxModel:
    """One of a bundle's models and its tokenizer. Thread-safe.

    Raises:
        BundleError: one of them cannot be loaded, or the model has other inputs than ``INPUTS``.
    """

    def __init__(self, bundle: Bundle, model: str, threads: int | None) -> None:
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # it would store a device id in the home folder
        import onnxruntime as ort
        from tokenizers import Tokenizer

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or cores()
        options.log_severity_level = 4  # what goes wrong is raised as well
        options.add_session_config_entry("session.disable_quant_qdq", "1")  # int8 weights are converted to floats once, when loading
        self.path = bundle.file(model)
        self._tokenizer: Any = _loaded(bundle.file(TOKENIZER), Tokenizer.from_file)
        self._session: Any = _loaded(self.path, lambda path: ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]))
        self._tokenizer.enable_truncation(bundle.manifest.max_length, strategy="longest_first")
        self._tokenizer.no_padding()
        self._inputs = [i.name for i in self._session.get_inputs()]
        if not {*INPUTS[:2]} <= {*self._inputs} <= {*INPUTS}:
            names = clean(", ".join(self._inputs))[:200] or "none"
            raise BundleError(f"{self.path} has the wrong inputs: {names}. It must read {', '.join(INPUTS)}.", hint="Distil the bundle again.")

    def run(self, texts: Sequence[str] | Sequence[tuple[str, str]], *, alone: bool = False) -> Iterator[tuple[list[int], np.ndarray, np.ndarray]]:
        """Yield per batch: indices of its texts or pairs, the model's first output (batch, …), the attention mask int64 (batch, tokens).

        Texts are sorted by length, so that batches hold texts of similar length and little padding. An int8 model quantises
        a batch by its largest value, so a text's output depends slightly on its batch: ``alone`` runs one text at a time.
        """
        for batch, feeds in self.feeds(self.tokenise(texts), alone=alone):
            yield batch, self.infer(feeds), feeds["attention_mask"]

    def tokenise(self, texts: Sequence[str] | Sequence[tuple[str, str]]) -> list[Any]:
        """Return the tokenizer's encodings of texts, or of pairs of texts."""
        with _panic_as_error():
            encodings: list[Any] = self._tokenizer.encode_batch(list(texts))
        return encodings

    def feeds(self, encodings: Sequence[Any], *, alone: bool = False) -> Iterator[tuple[list[int], dict[str, np.ndarray]]]:
        """Yield per batch: indices of its encodings, and the model's inputs, int64 (batch, tokens) each. ``alone``: as in ``run``."""
        order = sorted(range(len(encodings)), key=lambda i: len(encodings[i].ids))
        for batch in [[i] for i in order] if alone else _batches(order, [len(e.ids) for e in encodings]):
            width = len(encodings[batch[-1]].ids)
            feeds = {name: np.zeros((len(batch), width), dtype=np.int64) for name in self._inputs}
            for row, i in enumerate(batch):
                encoding, n = encodings[i], len(encodings[i].ids)
                feeds["input_ids"][row, :n] = encoding.ids
                feeds["attention_mask"][row, :n] = 1
                if "token_type_ids" in feeds:
                    feeds["token_type_ids"][row, :n] = encoding.type_ids
            yield batch, feeds

    def largest_id(self) -> int:
        """Return the largest token id of the tokenizer's vocabulary."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=0)

    def rows(self, ids: Sequence[int], count: int) -> dict[str, np.ndarray]:
        """Return inputs of ``count`` equal rows of token ids, as ``feeds`` does for texts."""
        shape = (count, len(ids))
        given = {"input_ids": np.broadcast_to(np.array(ids, dtype=np.int64), shape), "attention_mask": np.ones(shape, dtype=np.int64)}
        return {name: np.ascontiguousarray(given.get(name, np.zeros(shape, dtype=np.int64))) for name in self._inputs}

    def infer(self, feeds: dict[str, np.ndarray]) -> np.ndarray:
        """Return the model's first output for one batch: (batch, …)."""
        output: np.ndarray = self._session.run(None, feeds)[0]
        return output


def _loaded(path: Path, load: Callable[[str], Any]) -> Any:
    try:
        with _panic_as_error():
            return load(str(path))
    except Exception as error:  # both libraries have exceptions of their own
        raise BundleError(f"{path} cannot be loaded: {one_line(error)}", hint="Distil the bundle again, or use the shipped one.") from error


@contextmanager
def _panic_as_error() -> Iterator[None]:
    """A tokenizer that contradicts itself raises a "panic", which is no ``Exception``, and would end a thread."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise RuntimeError(f"the tokenizer failed: {error}") from error


def one_line(error: BaseException) -> str:
    """Return a library's message as one line of at most 300 characters."""
    return clean(str(error))[:300]


def _batches(order: list[int], lengths: list[int]) -> list[list[int]]:
    """Split texts sorted by length into batches of at most ``TOKENS_PER_BATCH`` padded tokens."""
    batches: list[list[int]] = []
    for i in order:
        if batches and (len(batches[-1]) + 1) * lengths[i] <= TOKENS_PER_BATCH:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
