"""Each product by itself: cross-entropy or squared error against the teacher's relevance."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from reranker_distill.losses.over_lists import LossOverLists


class PointwiseBCELoss(LossOverLists):
    """Binary cross-entropy of sigmoid(score) against relevance, 0–1 (sentence-transformers' BinaryCrossEntropyLoss, over lists)."""

    def of_list(self, scores: Tensor, labels: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(scores, labels)


class PointwiseMSELoss(LossOverLists):
    """Squared error of the score (sentence-transformers' MSELoss, over lists)."""

    def of_list(self, scores: Tensor, labels: Tensor) -> Tensor:
        return functional.mse_loss(scores, labels)
