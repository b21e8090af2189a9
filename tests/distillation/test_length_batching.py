"""Texts read in parts come back in the order in which they were given."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from reranker_distill.length_batching import encode_by_length


def test_rows_stand_in_the_order_of_their_texts() -> None:
    texts = ["x" * n for n in (9, 2, 30, 2, 7, 41, 1, 8, 3, 17, 5, 12, 6)]
    batches: list[list[str]] = []

    def encode(part: list[str]) -> torch.Tensor:
        batches.append(part)
        return torch.tensor([[float(len(text)), -1.0] for text in part])

    assert encode_by_length(texts, encode)[:, 0].tolist() == [len(text) for text in texts]
    padded = sum(len(part) * max(map(len, part)) for part in batches)
    if not torch.accelerator.is_available():
        assert padded < 0.6 * len(texts) * 41


def test_pairs_are_sorted_by_both_texts() -> None:
    pairs = [("a" * n, "b" * m) for n, m in ((1, 9), (5, 1), (20, 20), (2, 2), (3, 30), (4, 4), (1, 1), (6, 6), (7, 7))]
    rows = encode_by_length(pairs, lambda part: torch.tensor([float(len(a) * 100 + len(b)) for a, b in part]))
    assert rows.tolist() == [len(a) * 100 + len(b) for a, b in pairs]
