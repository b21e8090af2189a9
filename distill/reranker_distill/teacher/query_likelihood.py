"""Query likelihood: a pretrained language model's probability of the query after the product's text, without training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reranker.errors import RecipeError
from reranker.products import Product
from reranker.text import ProductTemplate
from reranker_distill.checkpoints import resolve_checkpoint
from reranker_distill.precision import dtype_of
from reranker_distill.teacher.prompts import fill_prompt
from reranker_distill.teacher.shared_prefixes import body, group_by_prefix, make_batches, run_decoder

PROMPT = "Product: {product}\nSearch query: {query}"
MAX_LENGTH = 80
"""Tokens of a prompt."""

VOCABULARY_BLOCK = 16_384


class QueryLikelihood:
    """Scores pairs by a language model's probability of the query after the product.

    The model is loaded at its first use: a finished labelling needs none, and a cluster loads it where the work is done.

    Source: Sachan et al., "Improving passage retrieval with zero-shot question generation", EMNLP 2022 (arXiv 2204.07496).
    """

    def __init__(self, model: str, template: ProductTemplate, models: Path, *, max_length: int = MAX_LENGTH) -> None:
        self._name, self._template, self._models, self._max_length = model, template, models, max_length
        self._loaded: tuple[Any, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": None}

    def distributions(
        self, pairs: Sequence[tuple[str, Product]], *, on_pairs: Callable[[int], None] | None = None, tokens_per_batch: int | None = None
    ) -> np.ndarray:
        """Return for each (query, product) pair the geometric mean p of the probabilities of the query's tokens, as [1 - p, p]: float32 (n, 2).

        Raises:
            RecipeError: the model cannot be loaded.
        """
        model, tokenizer = self._load()
        texts = [self._template.render(product) for _, product in pairs]
        prompts, query_lengths = [], []
        for (query, _), text in zip(pairs, texts, strict=True):
            prefix = fill_prompt(PROMPT, self._max_length, tokenizer, query, text).removesuffix(query).rstrip()
            query_ids = tokenizer(f" {query}", add_special_tokens=False)["input_ids"]
            prompts.append([*tokenizer(prefix)["input_ids"], *query_ids])
            query_lengths.append(len(query_ids))
        out = np.zeros((len(pairs), 2), dtype=np.float32)
        groups = group_by_prefix(prompts, texts, [length + 1 for length in query_lengths])
        for batch in make_batches(groups, prompts, tokens_per_batch):
            members = [i for group in batch for i in group.members]
            with torch.inference_mode():
                hidden = run_decoder(body(model), prompts, batch, tokenizer.pad_token_id or 0).last_hidden_state
                # Only the states that predict a token of a query get a number for every word of the vocabulary.
                predicting = torch.cat([hidden[row, -query_lengths[i] - 1 : -1] for row, i in enumerate(members)])
                targets = torch.tensor([token for i in members for token in prompts[i][-query_lengths[i] :]], device=hidden.device)
                logs = _log_probabilities(model, predicting, targets).cpu().numpy()
            ends = np.cumsum([query_lengths[i] for i in members])
            out[members, 1] = [np.exp(part.mean()) for part in np.split(logs, ends[:-1])]
            if on_pairs:
                on_pairs(len(members))
        out[:, 0] = 1 - out[:, 1]
        return out

    def relevance(self, query: str, products: Sequence[Product]) -> np.ndarray:
        """Return each product's p, as ``distributions``: float32 (n,)."""
        p: np.ndarray = self.distributions([(query, product) for product in products])[:, 1]
        return p

    def checkpoint(self) -> Path | None:
        """Return the folder that its model is read from; None where the hub gives it to any machine."""
        found = Path(resolve_checkpoint(self._name, self._models))
        return found if found.is_dir() else None

    def with_checkpoint(self, folder: Path) -> QueryLikelihood:
        """Return the same with its model in another folder."""
        return QueryLikelihood(str(folder), self._template, self._models, max_length=self._max_length)

    def _load(self) -> tuple[Any, Any]:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        if self._loaded is None:
            checkpoint = resolve_checkpoint(self._name, self._models)
            try:
                tokenizer = AutoTokenizer.from_pretrained(checkpoint)
                model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=dtype_of("bfloat16"))
            except (OSError, ValueError, KeyError) as error:
                raise RecipeError(
                    f"The language model {checkpoint} cannot be loaded: {error}", hint="likelihood.model is a hub name or folder of a decoder LLM."
                ) from error
            self._loaded = model.eval().to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer
        return self._loaded


def _log_probabilities(model: Any, hidden: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Return the log-probability of each token, (n,), after its hidden state, (n, width).

    The vocabulary is processed in blocks that reuse the same memory: all logits at once are gigabytes, and allocating them
    took a sixth of the time on a CPU.
    """
    head = model.get_output_embeddings()
    bias = getattr(head, "bias", None)
    cap = getattr(model.config, "final_logit_softcapping", None)
    target_logits = hidden.new_zeros(len(tokens), dtype=torch.float32)
    log_sum = torch.full_like(target_logits, -torch.inf)
    for start in range(0, len(head.weight), VOCABULARY_BLOCK):
        block = slice(start, start + VOCABULARY_BLOCK)
        logits = torch.nn.functional.linear(hidden, head.weight[block], None if bias is None else bias[block]).float()
        if cap:
            logits = cap * torch.tanh(logits / cap)
        log_sum = torch.logaddexp(log_sum, logits.logsumexp(dim=1))
        in_block = (tokens >= start) & (tokens < start + VOCABULARY_BLOCK)
        target_logits[in_block] = logits[in_block, tokens[in_block] - start]
    return target_logits - log_sum
