"""Losses over lists of one query's products.

Every loss takes what sentence-transformers' listwise losses take: (queries, lists of product texts), and a list of labels
for each query. A comparison of losses is fair: same batches, same number of product texts an epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.util import batch_to_device
from torch import Tensor, nn
from torch.nn import functional

from reranker_distill.length_batching import encode_by_length
from reranker_distill.recipe import LossName

MARGIN_SCALE = 4.0
"""Relevance is learnt at this scale: margins of up to 4 keep the loss and its gradients of order one."""


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


class ListMarginMSELoss(LossOverLists):
    """Mean squared error between the student's and the teacher's margins, over every pair of a query's products.

    Source: arXiv 2505.07105 (the student learns the teacher's margin between two products of one query), and
    Hofstätter et al., arXiv 2010.02666 (margin MSE). Taken over all pairs of a list of n products:
    n forward passes teach n(n−1)/2 margins.
    """

    def of_list(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over all pairs i, j of ((sᵢ − sⱼ) − (tᵢ − tⱼ))², which equals 2·n/(n−1)·Var(s − t)."""
        difference = scores - labels
        return 2 * (difference - difference.mean()).square().sum() / max(len(difference) - 1, 1)


class PairMarginMSELoss(LossOverLists):
    """Mean squared error of the margin of two products, over pairs drawn anew at each step; a product is in one pair.

    Source: arXiv 2505.07105. n forward passes teach n/2 margins. sentence-transformers' MarginMSELoss computes the same
    of fixed triplets; drawn from the lists, batches are those of the other losses and pairs differ from epoch to epoch.
    """

    def of_list(self, scores: Tensor, labels: Tensor) -> Tensor:
        order = torch.randperm(len(scores))  # on the CPU: the trainer keeps its state in checkpoints
        half = len(order) // 2
        first, second = order[:half], order[half : 2 * half]
        return ((scores[first] - scores[second]) - (labels[first] - labels[second])).square().mean()


class PointwiseBCELoss(LossOverLists):
    """Binary cross-entropy of sigmoid(score) against relevance, 0–1 (sentence-transformers' BinaryCrossEntropyLoss, over lists)."""

    def of_list(self, scores: Tensor, labels: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(scores, labels)


class PointwiseMSELoss(LossOverLists):
    """Squared error of the score (sentence-transformers' MSELoss, over lists)."""

    def of_list(self, scores: Tensor, labels: Tensor) -> Tensor:
        return functional.mse_loss(scores, labels)


_LOSSES: dict[LossName, type[LossOverLists]] = {
    "list_margin_mse": ListMarginMSELoss,
    "margin_mse": PairMarginMSELoss,
    "bce": PointwiseBCELoss,
    "mse": PointwiseMSELoss,
}


def make_loss(name: LossName, model: CrossEncoder | None) -> LossOverLists:
    """Return the loss of a recipe's ``student.loss``; without a model, for scores computed elsewhere (``LossOverLists.of_lists``)."""
    return _LOSSES[name](model)
