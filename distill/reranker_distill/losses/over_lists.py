"""The base of the losses over lists: one forward pass over all products of a batch, then a loss per query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.util import batch_to_device
from torch import Tensor, nn

from reranker_distill.length_batching import encode_by_length


class LossOverLists(nn.Module):
    """Mean over the queries of a batch of ``of_list``, a loss of one query's scores and labels, both (n,)."""

    def __init__(self, model: CrossEncoder | None) -> None:
        """``model`` is None where scores are computed elsewhere, and only ``of_lists`` is called."""
        super().__init__()
        self.model = model

    def of_list(self, scores: Tensor, labels: Tensor) -> Tensor:
        raise NotImplementedError

    def of_lists(self, scores: Sequence[Tensor], labels: Sequence[Tensor]) -> Tensor:
        """Return the mean over queries."""
        return torch.stack([self.of_list(own, wanted.to(own)) for own, wanted in zip(scores, labels, strict=True)]).mean()

    def forward(self, inputs: list[Any], labels: list[Tensor], prompt: str | None = None, task: str | None = None) -> Tensor:
        assert self.model is not None
        queries, lists = inputs
        model = self.model

        def read(pairs: list[tuple[str, str]]) -> Tensor:
            tokens = model.preprocess(list(pairs), prompt=prompt, task=task)
            scores: Tensor = model(batch_to_device(tokens, model.device))["scores"].view(-1).float()
            return scores

        scores = encode_by_length([(query, text) for query, texts in zip(queries, lists, strict=True) for text in texts], read)
        return self.of_lists(scores.split([len(texts) for texts in lists]), labels)

    def get_config_dict(self) -> dict[str, Any]:
        return {}
