"""A language model as it was pretrained, asked how likely a query is after a product's text; it needs no judgments and no training."""

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
from reranker_distill.recipe import Likelihood
from reranker_distill.teacher.prompts import render_prompt
from reranker_distill.teacher.shared_prefixes import batches, body, families, read

WORDS_AT_A_TIME = 16_384


class QueryLikelihood:
    """Judges pairs by a language model's probability of the query after the product.

    It is loaded when it is first asked, so that a finished labelling needs no model, and on the machine that does the work.

    Source: Sachan et al., "Improving passage retrieval with zero-shot question generation", EMNLP 2022 (arXiv 2204.07496).
    """

    def __init__(self, settings: Likelihood, template: ProductTemplate, models: Path) -> None:
        self._settings = settings
        self._template = template
        self._models = models
        self._loaded: tuple[Any, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": None}

    def distributions(
        self, pairs: Sequence[tuple[str, Product]], *, tokens_per_batch: int = 4_096, on_pairs: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """Return for each (query, product) pair the geometric mean p of the probabilities of the query's tokens, as [1 - p, p]: float32 (n, 2).

        Raises:
            RecipeError: the model cannot be loaded.
        """
        model, tokenizer = self._ready()
        texts = [self._template.render(product) for _, product in pairs]
        prompts, asked = [], []
        for (query, _), text in zip(pairs, texts, strict=True):
            before = render_prompt(self._settings, tokenizer, query, text).removesuffix(query).rstrip()
            of_query = tokenizer(f" {query}", add_special_tokens=False)["input_ids"]
            prompts.append([*tokenizer(before)["input_ids"], *of_query])
            asked.append(len(of_query))
        out = np.zeros((len(pairs), 2), dtype=np.float32)
        for batch in batches(families(prompts, texts, [n + 1 for n in asked]), prompts, tokens_per_batch):
            members = [i for family in batch for i in family.members]
            with torch.inference_mode():
                hidden = read(body(model), prompts, batch, tokenizer.pad_token_id or 0).last_hidden_state
                # Only what foretells a token of a query gets a number for every word of the vocabulary.
                foretelling = torch.cat([hidden[row, -asked[i] - 1 : -1] for row, i in enumerate(members)])
                wanted = torch.tensor([token for i in members for token in prompts[i][-asked[i] :]], device=hidden.device)
                logs = _log_probabilities(model, foretelling, wanted).cpu().numpy()
            ends = np.cumsum([asked[i] for i in members])
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
        found = Path(resolve_checkpoint(self._settings.model, self._models))
        return found if found.is_dir() else None

    def reading(self, folder: Path) -> QueryLikelihood:
        """Return the same with its model in another folder."""
        return QueryLikelihood(self._settings.model_copy(update={"model": str(folder)}), self._template, self._models)

    def _ready(self) -> tuple[Any, Any]:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        if self._loaded is None:
            checkpoint = resolve_checkpoint(self._settings.model, self._models)
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

    The vocabulary is read block by block, so that the same memory serves again: all logits at once are gigabytes, and getting
    those from the system took a sixth of the time on a CPU.
    """
    head = model.get_output_embeddings()
    bias = getattr(head, "bias", None)
    cap = getattr(model.config, "final_logit_softcapping", None)
    wanted = hidden.new_zeros(len(tokens), dtype=torch.float32)
    seen = torch.full_like(wanted, -torch.inf)
    for start in range(0, len(head.weight), WORDS_AT_A_TIME):
        words = slice(start, start + WORDS_AT_A_TIME)
        logits = torch.nn.functional.linear(hidden, head.weight[words], None if bias is None else bias[words]).float()
        if cap:
            logits = cap * torch.tanh(logits / cap)
        seen = torch.logaddexp(seen, logits.logsumexp(dim=1))
        here = (tokens >= start) & (tokens < start + WORDS_AT_A_TIME)
        wanted[here] = logits[here, tokens[here] - start]
    return wanted - seen
