"""The larger student's scores survive a kill, and are mixed into what the smaller one learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reranker.text import ProductTemplate
from reranker_distill.pairs import LabelledPair
from reranker_distill.student import scoring, training
from reranker_distill.student.training import mixed_relevance, read_scores, score_pairs

LABELLED = [LabelledPair("q", str(i), "log", (1 - i / 24, i / 24)) for i in range(25)]
PRODUCTS = {str(i): {"id": str(i), "title": str(i)} for i in range(25)}


class CountingStudent:
    """Scores a product by the number in its title, and dies at its n-th call."""

    dies_at: int | None = None
    scored = 0

    def __init__(self, *_, **__) -> None:
        self.calls = 0

    def predict(self, pairs, **_) -> np.ndarray:
        self.calls += 1
        if self.calls == CountingStudent.dies_at:
            raise KeyboardInterrupt
        CountingStudent.scored += len(pairs)
        return np.array([float(text) for _, text in pairs])


def test_scoring_that_was_killed_goes_on_from_its_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "CrossEncoder", CountingStudent)
    monkeypatch.setattr(training, "SCORES_PER_SHARD", 10)
    monkeypatch.setattr(CountingStudent, "dies_at", 3)
    with pytest.raises(KeyboardInterrupt):
        score_pairs(tmp_path, LABELLED, PRODUCTS, template=ProductTemplate(), folder=tmp_path)
    monkeypatch.setattr(CountingStudent, "dies_at", None)
    score_pairs(tmp_path, LABELLED, PRODUCTS, template=ProductTemplate(), folder=tmp_path)
    assert CountingStudent.scored == 25
    np.testing.assert_array_equal(read_scores(tmp_path), np.arange(25))


def test_what_a_smaller_student_learns_lies_between_teacher_and_larger_student() -> None:
    teacher = np.array([pair.relevance for pair in LABELLED])
    larger = np.linspace(3, -3, 25) * -1
    larger[0], larger[24] = larger[24], larger[0]  # the larger student errs on the two ends
    np.testing.assert_allclose(mixed_relevance(LABELLED, larger, 0.0), teacher)
    alone, half = mixed_relevance(LABELLED, larger, 1.0), mixed_relevance(LABELLED, larger, 0.5)
    assert ((alone >= 0) & (alone <= 1)).all()
    assert alone[0] > alone[24]
    np.testing.assert_allclose(half, (teacher + alone) / 2)
