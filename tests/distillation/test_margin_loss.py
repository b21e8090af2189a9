"""The student's loss is margin MSE over all pairs of a query's products, as the paper has it."""

from __future__ import annotations

import itertools

import torch

from distill.margin_loss import ListMarginMSELoss


class FixedScores:
    """Stands for a cross-encoder whose scores are given."""

    device = torch.device("cpu")

    def __init__(self, scores: list[float]) -> None:
        self.scores = scores

    def preprocess(self, pairs, prompt=None, task=None):
        assert len(pairs) == len(self.scores)
        return {}

    def __call__(self, features):
        return {"scores": torch.tensor(self.scores)}


def loss_of(scores: list[float], lists: list[list[str]], labels: list[list[float]]) -> float:
    loss = ListMarginMSELoss.__new__(ListMarginMSELoss)
    torch.nn.Module.__init__(loss)
    loss.model = FixedScores(scores)
    return float(loss([["q"] * len(lists), lists], [torch.tensor(x) for x in labels]))


def test_it_equals_the_mean_squared_margin_difference_over_all_pairs() -> None:
    scores, teacher = [0.3, -1.2, 2.5, 0.9], [1.0, 0.0, 3.0, 0.5]
    pairs = list(itertools.combinations(range(4), 2))
    by_hand = sum(((scores[i] - scores[j]) - (teacher[i] - teacher[j])) ** 2 for i, j in pairs) / len(pairs)
    assert abs(loss_of(scores, [["a", "b", "c", "d"]], [teacher]) - by_hand) < 1e-5


def test_it_is_free_of_level_and_keeps_queries_apart() -> None:
    assert abs(loss_of([5.0, 6.0, -3.0, -1.0], [["a", "b"], ["c", "d"]], [[0.0, 1.0], [0.0, 2.0]])) < 1e-6
