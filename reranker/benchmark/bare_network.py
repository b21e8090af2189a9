"""A bundle's tokenizer and network with nothing around them: the least that scoring can take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reranker.bundle import TOKENIZER, Bundle
from reranker.network import TOKENS_PER_BATCH


class BareNetwork:
    """One of a bundle's models and its tokenizer, set up as ``reranker.network`` does.

    Args:
        model: the model's file in the bundle.
        threads: of one run.
    """

    def __init__(self, bundle: Bundle, model: str, threads: int) -> None:
        import onnxruntime as ort
        from tokenizers import Tokenizer

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        self._session = ort.InferenceSession(str(bundle.path / model), options, providers=["CPUExecutionProvider"])
        self._inputs = [i.name for i in self._session.get_inputs()]
        self._tokenizer: Any = Tokenizer.from_file(str(bundle.path / TOKENIZER))
        self._tokenizer.enable_truncation(bundle.manifest.max_length, strategy="longest_first")
        self._tokenizer.no_padding()

    def tokenise(self, texts: Sequence[str] | Sequence[tuple[str, str]]) -> list[Any]:
        """Return the tokenizer's encodings of texts, or of pairs of texts."""
        encodings: list[Any] = self._tokenizer.encode_batch(list(texts))
        return encodings

    def batches(self, encodings: Sequence[Any]) -> list[dict[str, np.ndarray]]:
        """Return what the network is fed: encodings sorted by length, in batches of at most ``TOKENS_PER_BATCH`` padded tokens."""
        batches: list[list[Any]] = []
        for encoding in sorted(encodings, key=lambda e: len(e.ids)):
            if batches and (len(batches[-1]) + 1) * len(encoding.ids) <= TOKENS_PER_BATCH:
                batches[-1].append(encoding)
            else:
                batches.append([encoding])
        return [self._feeds(batch) for batch in batches]

    def _feeds(self, batch: list[Any]) -> dict[str, np.ndarray]:
        feeds = {name: np.zeros((len(batch), len(batch[-1].ids)), dtype=np.int64) for name in self._inputs}
        for row, encoding in enumerate(batch):
            n = len(encoding.ids)
            for name, values in (("input_ids", encoding.ids), ("attention_mask", encoding.attention_mask), ("token_type_ids", encoding.type_ids)):
                if name in feeds:
                    feeds[name][row, :n] = values
        return feeds

    def run(self, feeds: dict[str, np.ndarray]) -> np.ndarray:
        """Return the network's first output for one batch."""
        output: np.ndarray = self._session.run(None, feeds)[0]
        return output
