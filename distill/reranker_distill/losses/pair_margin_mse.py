"""Margin MSE over sampled pairs of products of one query: the paper's own form."""

from __future__ import annotations

import torch
from torch import Tensor

from reranker_distill.losses.over_lists import LossOverLists


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
