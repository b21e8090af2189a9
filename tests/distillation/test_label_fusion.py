"""The committee's word on a pair: the teacher's, joined by an embedder whose scores a product shares with its neighbours."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from reranker_distill.label_fusion import NeighbourhoodEmbedder, WithLikelihood, judge_together
from reranker_distill.pairs import LabelledPair
from reranker_distill.product_vectors import ProductVectors

# Two directions: what a notebook's text is like, and what a bag's is like.
NOTEBOOK, BAG = np.array([1.0, 0.0]), np.array([0.0, 1.0])
MISLEADING = np.array([0.8, 0.6])  # a bag whose title speaks of notebooks
KEYBOARD = {"keyboard_layout": "QWERTY", "battery_life": 9}
ZIP = {"closure_type": "Zip", "strap": True}


class OneWordModel:
    """Encodes every query as "notebook"."""

    def encode(self, texts, **_):
        return np.stack([NOTEBOOK for _ in texts]).astype(np.float32)


class OneWordModelOf8:
    """As ``OneWordModel``, in eight directions."""

    def encode(self, texts, **_):
        return np.ones((len(texts), 8), dtype=np.float32)


def catalogue(*, attributes: bool = True):
    kinds = {f"n{i}": (NOTEBOOK, KEYBOARD) for i in range(4)} | {f"b{i}": (BAG, ZIP) for i in range(4)} | {"odd": (MISLEADING, ZIP)}
    products = {i: {"id": i, "title": i, **({"attributes": a} if attributes else {})} for i, (_, a) in kinds.items()}
    vectors = np.stack([vector for vector, _ in kinds.values()])
    return ProductVectors(OneWordModel(), list(kinds), vectors), products


def scores(neighbours: int, *, attributes: bool = True) -> dict[str, float]:
    vectors, products = catalogue(attributes=attributes)
    embedder = NeighbourhoodEmbedder(vectors, products, neighbours=neighbours)
    return dict(zip(products, embedder.scores([("notebook", i) for i in products]).tolist(), strict=True))


def test_alone_a_product_has_its_cosine() -> None:
    assert scores(1) == pytest.approx({**{f"n{i}": 1.0 for i in range(4)}, **{f"b{i}": 0.0 for i in range(4)}, "odd": 0.8}, abs=1e-6)


def test_a_misleading_title_is_outvoted_by_its_kind() -> None:
    with_kin = scores(4)
    assert with_kin["n0"] == pytest.approx(1.0)
    assert with_kin["b0"] < with_kin["odd"] < 0.6  # its nearest share its attributes' names, and are bags


def test_attributes_tell_the_kind_where_texts_do_not() -> None:
    assert scores(4)["odd"] < scores(4, attributes=False)["odd"]


def test_the_teacher_s_share_is_its_share() -> None:
    vectors, products = catalogue()
    embedder = NeighbourhoodEmbedder(vectors, products, neighbours=1)
    labelled = [LabelledPair("notebook", i, "log/random", (1.0, 0.0) if i != "b0" else (0.0, 1.0)) for i in products]

    def judged(share: float) -> dict[str, float]:
        return {p.product_id: p.relevance for p in judge_together(labelled, embedder, teacher_share=share).labelled}

    assert max(judged(1.0), key=judged(1.0).__getitem__) == "b0"
    assert judged(1.0) == {p.product_id: LabelledPair(*p[:4]).relevance for p in labelled}
    assert judged(0.0)["b0"] == 0.0
    assert judged(0.3)["b0"] == pytest.approx(0.3)
    assert judged(0.3)["odd"] == pytest.approx(0.7 * judged(0.0)["odd"])
    assert all(0 <= value <= 1 for value in judged(0.3).values())


def test_by_agreement_a_teacher_that_contradicts_the_embedder_is_not_heard() -> None:
    vectors, products = catalogue()
    embedder = NeighbourhoodEmbedder(vectors, products, neighbours=1)
    likes = {i: 0.9 - 0.01 * n for n, i in enumerate(products)} | {"odd": 0.5}  # notebooks, then bags, the misleading one amid them

    def labels(of: dict[str, float], query: str = "notebook") -> list[LabelledPair]:
        return [LabelledPair(query, i, "log/random", (1 - likely, likely)) for i, likely in of.items()]

    def judged(pairs: list[LabelledPair], share: float, by_agreement: bool) -> np.ndarray:
        return np.array([p.relevance for p in judge_together(pairs, embedder, teacher_share=share, by_agreement=by_agreement).labelled])

    agreeing, contrary, silent = labels(likes), labels({i: 1 - of for i, of in likes.items()}, "note book"), labels(dict.fromkeys(products, 0.4), "laptop")
    alone = judged(agreeing, 0.0, False)
    both = judged(agreeing + contrary + silent, 0.4, True)
    n = len(products)
    np.testing.assert_allclose(both[n : 2 * n], alone)  # it would have turned the order round
    np.testing.assert_allclose(both[2 * n :], alone)
    in_full, heard = judged(agreeing, 0.4, False) - alone, both[:n] - alone
    np.testing.assert_allclose(heard, heard[0] / in_full[0] * in_full, atol=1e-6)
    assert 0.5 < heard[0] / in_full[0] < 1  # they agree, but not on all


def test_a_language_model_moves_products_within_their_query_by_its_weight() -> None:
    vectors, products = catalogue()
    embedder = NeighbourhoodEmbedder(vectors, products, neighbours=1)
    pairs = [(query, i) for query in ("notebook", "note book") for i in ("n0", "b0", "odd")]
    likely = {"n0": 0.02, "b0": 0.04, "odd": 0.08}

    def joined(weight: float, of: float = 1.0) -> np.ndarray:
        return WithLikelihood(embedder, lambda asked: np.array([of * likely[i] if q == "notebook" else 0.5 for q, i in asked]), weight=weight).scores(pairs)

    plain = embedder.scores(pairs)
    np.testing.assert_allclose(joined(0.0), plain)
    moved = joined(0.2) - plain
    np.testing.assert_allclose(moved[3:], 0, atol=1e-6)  # equally likely after all: no word on their order
    np.testing.assert_allclose(moved[:3] / plain[:3].std(), 0.2 * np.array([-1.5, 0, 1.5]) * np.sqrt(2 / 3), atol=1e-5)
    np.testing.assert_allclose(joined(0.2, of=0.01), joined(0.2), atol=1e-5)  # a query less likely as a whole


def test_a_product_s_neighbours_are_all_that_is_kept_of_the_catalogue() -> None:
    many = 2_000
    vectors = np.random.default_rng(3).normal(size=(many, 8))
    ids = [str(i) for i in range(many)]
    embedder = NeighbourhoodEmbedder(ProductVectors(OneWordModelOf8(), ids, vectors), {i: {"id": i} for i in ids}, neighbours=30)
    tracemalloc.start()
    try:
        embedder.scores([("notebook", i) for i in ids])
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 4 * many * 30 * 4  # a row of all likenesses each would take 32 MB
