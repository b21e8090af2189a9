"""Stored product vectors: computed once, with the same scores, resumable, and never those of another bundle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from reranker import Reranker, stored_vectors
from reranker.cache import digest
from reranker.demo_data import demo_file
from reranker.errors import InputError
from reranker.products import read_catalog
from reranker.stored_vectors import open_vectors, store_vectors
from tests.commands import run_command
from tests.tiny_bundle import make_tiny_bundle

PRODUCTS = [{"id": str(n), "title": f"Laptop {n}", "brand": "Shop", "description": f"number {n} of a kind " * (n % 7)} for n in range(23)]


class Counting:
    """Encodes a text as its length and records it; raises KeyboardInterrupt after a number of calls."""

    def __init__(self, calls: int = 1_000) -> None:
        self.texts: list[str] = []
        self._calls = calls

    def __call__(self, texts):
        if not self._calls:
            raise KeyboardInterrupt
        self._calls -= 1
        self.texts += texts
        return np.array([[len(text), 1] for text in texts], dtype=np.float16)


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    path = tmp_path / "products.jsonl"
    path.write_text("\n".join(json.dumps(product) for product in PRODUCTS), encoding="utf-8")
    return path


def test_what_an_interruption_left_is_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_vectors, "PART", 4)
    texts = [f"product {'x' * n}" for n in range(10)]
    with pytest.raises(KeyboardInterrupt):
        store_vectors(tmp_path, Counting(calls=2), texts)
    rest = Counting()
    assert store_vectors(tmp_path, rest, [*texts, texts[0], "a new one", "a new one"]) == 3
    assert rest.texts == [*texts[8:], "a new one"]
    known, found = open_vectors(tmp_path).find([digest([text]) for text in ["unknown", *texts[::-1], "a new one"]])
    assert known.tolist() == [False] + [True] * 11
    assert found[:, 0].tolist() == [len(text) for text in [*texts[::-1], "a new one"]]


def test_scores_are_those_of_a_student_that_computes_them_itself(tmp_path: Path) -> None:
    ahead = Reranker.load()
    assert ahead.store_vectors(tmp_path, PRODUCTS[:20]) == 20
    ahead = Reranker.load()
    assert ahead.use_vectors(tmp_path) == ahead.vectors_stored == 20
    for products in (PRODUCTS[:20], PRODUCTS[15:], PRODUCTS[20:], [*PRODUCTS[21:], *PRODUCTS[:2], PRODUCTS[21]]):
        assert (ahead.score("laptop", products) == Reranker.load().score("laptop", products)).all()


def test_known_vectors_are_not_computed(tmp_path: Path) -> None:
    Reranker.load().store_vectors(tmp_path, PRODUCTS)
    student = Reranker.load()
    student.use_vectors(tmp_path)
    read: list[str] = []
    encode = student._vectors.encode  # type: ignore[union-attr]
    student._vectors.encode = lambda texts: read.extend(texts) or encode(texts)  # type: ignore[union-attr, method-assign, func-returns-value]
    student.score("laptop", PRODUCTS)
    assert read == []
    student.score("laptop", [*PRODUCTS, "Laptop bag"])
    assert read == ["Laptop bag"]


def test_another_bundle_finds_none_of_them(tmp_path: Path) -> None:
    Reranker.load().store_vectors(tmp_path, PRODUCTS)
    other = Reranker.load(make_tiny_bundle(tmp_path / "bundle"))
    assert other.use_vectors(tmp_path) == 0


@pytest.mark.parametrize("name", ["default", "fast"])
def test_the_package_has_the_demo_catalogues_vectors_for_each_shipped_bundle(name: str) -> None:
    """If this fails, the bundles or the catalogue have changed: delete the old ones, then `reranker vectors --out reranker/data/icecat/vectors`."""
    student = Reranker.load(name)
    products = list(read_catalog(demo_file("products.jsonl.gz")))
    assert student.vectors_stored == len({student.template.render(product) for product in products})
    student.precompute(products)
    assert student.vectors_computed == 0
    sample = products[::1_500]
    stored = student.score("laptop", sample)
    student.clear_caches()
    np.testing.assert_allclose(student.score("laptop", sample), stored, atol=2e-3)  # other processors round differently
    assert student.vectors_computed == len(sample)


def test_a_cross_encoder_has_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cross-encoder"):
        Reranker.load(make_tiny_bundle(tmp_path / "bundle")).store_vectors(tmp_path / "vectors", PRODUCTS)


@pytest.mark.parametrize("damage", [b"", b"not numpy", None])
def test_the_error_names_a_damaged_file(tmp_path: Path, damage: bytes | None) -> None:
    Reranker.load().store_vectors(tmp_path, PRODUCTS)
    (part,) = tmp_path.glob("*/part-*.npy")
    part.write_bytes(part.read_bytes()[:-100] if damage is None else damage)
    with pytest.raises(InputError, match=part.name):
        Reranker.load().use_vectors(tmp_path)
    done = run_command("search", "laptop", "--vectors", str(tmp_path))
    assert done.returncode != 0
    assert part.name in done.stderr.replace("\n", "")
    assert "Traceback" not in done.stderr


def test_the_command_computes_what_is_new(catalogue: Path, tmp_path: Path) -> None:
    out = tmp_path / "vectors"
    first = run_command("vectors", "--catalog", str(catalogue), "--out", str(out))
    assert first.returncode == 0, first.stderr
    assert "23 products" in first.stdout
    assert "(23 of them new)" in first.stdout
    with catalogue.open("a", encoding="utf-8") as file:
        file.write('\n{"id": "new", "title": "Laptop lock"}\n{"id": "wrong"}')
    refused = run_command("vectors", "--catalog", str(catalogue), "--out", str(out), "--json")
    assert refused.returncode != 0
    assert "line 25" in refused.stderr
    again = json.loads(run_command("vectors", "--catalog", str(catalogue), "--out", str(out), "--skip-invalid", "--json").stdout)
    assert (again["products"], again["computed"]) == (24, 1)
    assert again["left_out"][0]["line"] == 25


def test_a_folder_that_cannot_be_written(catalogue: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = run_command("vectors", "--catalog", str(catalogue), "--out", str(tmp_path / "file" / "vectors"))
    assert done.returncode != 0
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
