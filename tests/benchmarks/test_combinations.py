"""Rankings made of two others: BM25's score blended in, and a second reading of the head."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.experiments.combinations import blend, cascade

PRODUCTS = [{"id": str(i)} for i in range(5)]


def ranker(*scores: float) -> Any:
    return lambda query, products: [scores[int(product["id"])] for product in products]


def test_bm25_counts_in_proportion_to_its_best() -> None:
    scores = blend(ranker(0.5, 0.4, 0.3, 0.2, 0.1), ranker(0, 12, 6, 0, 0), 0.2)("any", PRODUCTS)
    np.testing.assert_allclose(scores, [0.5, 0.6, 0.4, 0.2, 0.1], atol=1e-6)


def test_a_blend_without_any_match_is_the_student() -> None:
    np.testing.assert_allclose(blend(ranker(0.5, 0.4, 0.3, 0.2, 0.1), ranker(0, 0, 0, 0, 0), 0.2)("any", PRODUCTS), [0.5, 0.4, 0.3, 0.2, 0.1], atol=1e-6)


def test_a_cascade_reorders_the_head_alone() -> None:
    scores = cascade(ranker(1, 5, 4, 3, 2), ranker(9, 1, 2, 3, 8), 3)("any", PRODUCTS)
    assert [int(i) for i in np.argsort(-scores)] == [3, 2, 1, 4, 0]


def test_the_second_reader_is_asked_about_the_head_only() -> None:
    asked: list[str] = []

    def second(query: str, products: list[dict[str, str]]) -> list[float]:
        asked.extend(product["id"] for product in products)
        return [0.0] * len(products)

    cascade(ranker(1, 5, 4, 3, 2), second, 2)("any", PRODUCTS)
    assert asked == ["1", "2"]
