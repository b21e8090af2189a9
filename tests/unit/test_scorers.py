"""The bi-encoder: a product is encoded once, its score never changes, memory is bounded."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from reranker import Reranker
from reranker.bi_encoder import BiEncoder
from reranker.bundle import load_bundle
from reranker.cache import ENTRY_BYTES
from reranker.errors import BundleError
from tests.tiny_bundle import make_tiny_bundle

ROOM_FOR_ONE_PRODUCT = (26 * 2 + ENTRY_BYTES) * 4 // 3 + 1
"""Bytes of both caches: three quarters are for products."""


class Letters:
    """A model whose hidden state for each letter of a text is a direction of its own; records what it reads."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def run(self, texts, *, alone=False):
        for i, text in enumerate(texts):
            self.read.append(text)
            hidden = np.zeros((1, len(text) + 2, 26), dtype=np.float32)  # two of padding
            for place, letter in enumerate(text):
                hidden[0, place, ord(letter) - ord("a")] = 1
            hidden[0, len(text) :] = 9  # what padding holds must not count
            mask = np.array([[1] * len(text) + [0, 0]])
            yield [i], hidden, mask


def test_the_score_is_the_cosine_at_scale() -> None:
    scores = BiEncoder(Letters(), 5.0).logits([("ab", "ab"), ("ab", "cd"), ("ab", "b")])
    np.testing.assert_allclose(scores, [5.0, 0.0, 5.0 / np.sqrt(2)], atol=5e-3)


def test_a_product_is_read_once_and_scores_the_same_again() -> None:
    network = Letters()
    scorer = BiEncoder(network, 5.0)
    first = scorer.logits([("ab", "abc"), ("ab", "abc"), ("ab", "xyzb")])
    assert network.read == ["ab", "abc", "xyzb"]
    assert (scorer.logits([("ab", "abc"), ("ab", "abc"), ("ab", "xyzb")]) == first).all()
    assert network.read[3:] == ["ab"]
    scorer.clear_query_cache()
    scorer.clear_product_cache()
    assert (scorer.logits([("ab", "xyzb")]) == first[2]).all()
    assert network.read[4:] == ["ab", "xyzb"]


def test_a_query_model_encodes_only_queries() -> None:
    network, smaller = Letters(), Letters()
    scores = BiEncoder(network, 5.0, query_model=smaller).logits([("ab", "abc"), ("ab", "xyz")])
    assert (network.read, smaller.read) == (["abc", "xyz"], ["ab"])
    assert scores[0] > scores[1]


def test_the_least_lately_used_vectors_give_way() -> None:
    network = Letters()
    scorer = BiEncoder(network, 1.0, cache_bytes=ROOM_FOR_ONE_PRODUCT * 2)
    assert len(scorer.logits([("q", text) for text in ("a", "b", "c")])) == 3  # more than are kept, and all are scored
    scorer.logits([("q", "b")])
    scorer.logits([("q", "d")])
    del network.read[:]
    scorer.logits([("q", "b"), ("q", "c")])
    assert network.read == ["q", "c"]


def test_many_threads_get_the_same_scores() -> None:
    scorer = BiEncoder(Letters(), 1.0, cache_bytes=ROOM_FOR_ONE_PRODUCT * 3)
    pairs = [("query", text) for text in ("a", "quer", "zz", "ery", "yy")]
    wanted, found = scorer.logits(pairs), []
    threads = [threading.Thread(target=lambda: found.extend(scorer.logits(pairs) for _ in range(50))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 200
    assert all((scores == wanted).all() for scores in found)


def test_an_unknown_architecture_is_refused(tmp_path: Path) -> None:
    bundle = load_bundle(make_tiny_bundle(tmp_path / "trio"))
    changed = bundle.manifest.model_copy(update={"student": {"architecture": "trio"}})
    with pytest.raises(BundleError, match="architecture 'trio'"):
        Reranker(bundle._replace(manifest=changed))


def test_the_shipped_bundle_scores_a_product_the_same_whatever_stands_beside_it() -> None:
    products = ["HP ProBook 450 laptop, 15.6 inch, 16 GB", "Laptop bag", "Laptop lock " + "of hardened steel " * 40, "USB A to USB B cable 1 m"]
    together = Reranker.load().score("laptop", products)
    assert len(set(together.tolist())) == len(products)
    for product, score in zip(products, together, strict=True):
        assert Reranker.load().score("laptop", [product])[0] == score


def test_shipped_bundles_load_by_name() -> None:
    assert load_bundle("default").path == load_bundle().path
    with pytest.raises(BundleError, match="default"):
        load_bundle("nowhere")
