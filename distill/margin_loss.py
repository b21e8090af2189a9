"""Margin MSE over all pairs of products of one query."""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.util import batch_to_device
from torch import Tensor, nn


class ListMarginMSELoss(nn.Module):
    """Mean squared error between the student's and the teacher's margins, over every pair of a query's products.

    Source: arXiv 2505.07105 (the student learns the teacher's margin between two products of one query), and
    Hofstätter et al., arXiv 2010.02666 (margin MSE). Taken over all pairs of a list of n products, the mean of
    ((sᵢ − sⱼ) − (tᵢ − tⱼ))² equals 2·n/(n−1)·Var(s − t): n forward passes teach n(n−1)/2 margins.

    Inputs as sentence-transformers' listwise losses take them: (queries, lists of product texts), and a list of
    teacher scores for each query.
    """

    def __init__(self, model: CrossEncoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: list[Any], labels: list[Tensor], prompt: str | None = None, task: str | None = None) -> Tensor:
        queries, lists = inputs
        tokens = self.model.preprocess([(query, text) for query, texts in zip(queries, lists, strict=True) for text in texts], prompt=prompt, task=task)
        scores = self.model(batch_to_device(tokens, self.model.device))["scores"].view(-1).float()
        losses = []
        for student, teacher in zip(scores.split([len(texts) for texts in lists]), labels, strict=True):
            difference = student - teacher.to(student)
            losses.append(2 * (difference - difference.mean()).square().sum() / max(len(difference) - 1, 1))
        return torch.stack(losses).mean()

    def get_config_dict(self) -> dict[str, Any]:
        return {}
