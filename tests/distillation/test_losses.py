"""Each loss is compared with numbers computed by hand."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import get_args

import pytest
import torch
from sentence_transformers import CrossEncoder

from reranker.text import ProductTemplate
from reranker_distill.losses import make_loss
from reranker_distill.pairs import LabelledPair
from reranker_distill.recipe import LossName
from reranker_distill.student.lists import product_lists


class FixedScores(CrossEncoder):
    """Stands for a cross-encoder whose scores are given."""

    def __init__(self, scores: list[float]) -> None:
        torch.nn.Module.__init__(self)
        self.parameter = torch.nn.Parameter(torch.tensor(scores))
        self.scores = SimpleNamespace(n=len(scores))

    num_labels = 1
    device = torch.device("cpu")

    def preprocess(self, pairs, prompt=None, task=None):
        assert len(pairs) == self.scores.n
        return {}

    def forward(self, features):
        return {"scores": self.parameter}


def loss_of(name: str, scores: list[float], labels: list[list[float]]) -> float:
    lists = [[str(i) for i in range(len(own))] for own in labels]
    return make_loss(name, FixedScores(scores))([["q"] * len(lists), lists], [torch.tensor(own) for own in labels]).item()


def test_list_margin_mse_is_the_mean_over_all_pairs() -> None:
    scores, teacher = [0.3, -1.2, 2.5, 0.9], [1.0, 0.0, 3.0, 0.5]
    pairs = list(itertools.combinations(range(4), 2))
    by_hand = sum(((scores[i] - scores[j]) - (teacher[i] - teacher[j])) ** 2 for i, j in pairs) / len(pairs)
    assert loss_of("list_margin_mse", scores, [teacher]) == pytest.approx(by_hand, abs=1e-5)


@pytest.mark.parametrize("name", ["list_margin_mse", "margin_mse"])
def test_margins_are_free_of_level_and_keep_queries_apart(name: str) -> None:
    assert loss_of(name, [5.0, 6.0, -3.0, -1.0], [[0.0, 1.0], [0.0, 2.0]]) == pytest.approx(0, abs=1e-6)
    assert loss_of(name, [5.0, 7.0, -3.0, -1.0], [[0.0, 1.0], [0.0, 2.0]]) == pytest.approx(0.5, abs=1e-6)  # (2 − 1)² on one query of two


def test_margin_mse_draws_pairs_of_one_list_each_product_once() -> None:
    torch.manual_seed(0)
    scores, teacher = [0.0, 1.0, 3.0, 7.0], [0.0] * 4
    matchings = [(1 + 16) / 2, (9 + 36) / 2, (49 + 4) / 2]  # 01|23, 02|13, 03|12
    drawn = {round(loss_of("margin_mse", scores, [teacher]), 4) for _ in range(40)}
    assert drawn == set(matchings)


def test_pointwise_losses() -> None:
    # score 2 of relevance 1, score −1 of relevance 0.75
    bce = (math.log(1 + math.exp(-2)) + (0.75 * math.log(1 + math.exp(1)) + 0.25 * math.log(1 + math.exp(-1)))) / 2
    assert loss_of("bce", [2.0, -1.0], [[1.0, 0.75]]) == pytest.approx(bce, abs=1e-5)
    assert loss_of("mse", [2.0, -1.0], [[4.0, 3.0]]) == pytest.approx((4 + 16) / 2)


def test_every_loss_reads_the_same_lists_with_labels_of_its_own_scale() -> None:
    labelled = [LabelledPair("q", str(i), "log", (1 - i / 9, 0.0, 0.0, i / 9)) for i in range(10)]
    products = {str(i): {"id": str(i), "title": f"product {i}"} for i in range(10)}
    made = {loss: product_lists(labelled, products, ProductTemplate(), loss, 1, products_per_list=5) for loss in get_args(LossName)}
    assert all([row["docs"] for row in rows] == [row["docs"] for row in made["bce"]] for rows in made.values())
    assert {loss: max(label for row in rows for label in row["labels"]) for loss, rows in made.items()} == pytest.approx(
        {"list_margin_mse": 4, "margin_mse": 4, "bce": 1, "mse": 4}
    )
