"""Margin MSE over all pairs of products of one query."""

from __future__ import annotations

from torch import Tensor

from reranker_distill.losses.over_lists import LossOverLists


def list_margin_mse(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the mean over all pairs i, j of ((sᵢ − sⱼ) − (tᵢ − tⱼ))², which equals 2·n/(n−1)·Var(s − t)."""
    difference = scores - labels
    return 2 * (difference - difference.mean()).square().sum() / max(len(difference) - 1, 1)


class ListMarginMSELoss(LossOverLists):
    """Mean squared error between the student's and the teacher's margins, over every pair of a query's products.

    Source: arXiv 2505.07105 (the student learns the teacher's margin between two products of one query), and
    Hofstätter et al., arXiv 2010.02666 (margin MSE). Taken over all pairs of a list of n products:
    n forward passes teach n(n−1)/2 margins.
    """

    def of_list(self, scores: Tensor, labels: Tensor) -> Tensor:
        return list_margin_mse(scores, labels)
