"""Label fusion: the teacher's relevance, an embedder's cosine and a language model's likelihood become one relevance."""

from __future__ import annotations

import numpy as np
import pytest

from reranker_distill.label_fusion import adjust_by_likelihood, fuse_labels
from reranker_distill.pairs import LabelledPair
from reranker_distill.recipe import Embedder

COSINES = {"n0": 1.0, "n1": 0.9, "b0": 0.0, "b1": 0.1, "odd": 0.8}
SCORES = np.array(list(COSINES.values()), dtype=np.float32)


def labelled(relevance: dict[str, float], query: str = "notebook") -> list[LabelledPair]:
    return [LabelledPair(query, product, "log/random", (1 - value, value)) for product, value in relevance.items()]


def fused(pairs: list[LabelledPair], scores: np.ndarray, share: float, *, by_agreement: bool = False) -> np.ndarray:
    settings = Embedder(share=share, teacher_by_agreement=by_agreement)
    return np.array([pair.relevance for pair in fuse_labels(pairs, scores, settings).labelled])


def test_teacher_and_embedder_have_their_shares() -> None:
    pairs = labelled({product: float(product == "b0") for product in COSINES})
    np.testing.assert_allclose(fused(pairs, SCORES, 0.0), [pair.relevance for pair in pairs])
    alone = fused(pairs, SCORES, 1.0)
    assert alone[2] == 0.0
    assert alone[0] == pytest.approx(1.0)
    mixed = fused(pairs, SCORES, 0.7)
    assert mixed[2] == pytest.approx(0.3)
    np.testing.assert_allclose(np.delete(mixed, 2), 0.7 * np.delete(alone, 2))


def test_pairs_without_a_teacher_get_the_embedder_s_scores() -> None:
    pairs = [LabelledPair("notebook", product, "log/random", ()) for product in COSINES]
    result = fuse_labels(pairs, SCORES, Embedder(share=1.0))
    assert result.agreement is None
    assert np.argmax([pair.relevance for pair in result.labelled]) == 0


def test_by_agreement_a_teacher_that_contradicts_the_embedder_has_no_part() -> None:
    likes = {"n0": 0.9, "n1": 0.8, "b0": 0.2, "b1": 0.1, "odd": 0.5}
    agreeing = labelled(likes)
    contrary = labelled({product: 1 - value for product, value in likes.items()}, "note book")
    undecided = labelled(dict.fromkeys(likes, 0.4), "laptop")
    pairs, scores, n = agreeing + contrary + undecided, np.tile(SCORES, 3), len(likes)
    alone, by_agreement, in_full = fused(pairs, scores, 1.0), fused(pairs, scores, 0.6, by_agreement=True), fused(pairs, scores, 0.6)
    np.testing.assert_allclose(by_agreement[n:], alone[n:])
    part, whole = (by_agreement - alone)[:n], (in_full - alone)[:n]
    ratio = part[4] / whole[4]
    assert 0.5 < ratio < 1  # they agree, but not on all products
    np.testing.assert_allclose(part, ratio * whole, atol=1e-6)


def test_a_language_model_moves_products_within_their_query_by_its_weight() -> None:
    pairs = [(query, product) for query in ("notebook", "note book") for product in ("n0", "b0", "odd")]
    scores = np.array([1.0, 0.0, 0.8] * 2, dtype=np.float32)
    likelihoods = np.array([0.02, 0.04, 0.08, 0.5, 0.5, 0.5])
    np.testing.assert_allclose(adjust_by_likelihood(pairs, scores, likelihoods, 0.0), scores)
    moved = adjust_by_likelihood(pairs, scores, likelihoods, 0.2) - scores
    np.testing.assert_allclose(moved[3:], 0, atol=1e-6)  # equally likely: no change of their order
    np.testing.assert_allclose(moved[:3] / scores[:3].std(), 0.2 * np.array([-1.5, 0, 1.5]) * np.sqrt(2 / 3), atol=1e-5)
    rarer = likelihoods * np.array([0.01] * 3 + [1.0] * 3)  # a query that is less likely as a whole
    np.testing.assert_allclose(adjust_by_likelihood(pairs, scores, rarer, 0.2) - scores, moved, atol=1e-5)
