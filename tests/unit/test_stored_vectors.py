"""Stored product vectors: computed once, with the same scores, resumable, and never those of another bundle."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from reranker import Reranker, stored_vectors
from reranker.cache import digest
from reranker.demo_data import demo_file
from reranker.errors import InputError
from reranker.products import read_catalog
from reranker.stored_vectors import CHECKSUMS, open_vectors, store_vectors
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


def changed(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda part: part.write_bytes(b""),
    "not of NumPy": lambda part: part.write_bytes(b"not numpy"),
    "an archive": lambda part: np.savez(part.open("wb"), np.zeros(3)),
    "truncated": lambda part: part.write_bytes(part.read_bytes()[:-100]),
    "longer": lambda part: part.write_bytes(part.read_bytes() + b"x"),
    "one bit of a vector": lambda part: part.write_bytes(changed(part.read_bytes(), -500)),
    "one bit of a key": lambda part: part.write_bytes(changed(part.read_bytes(), 130)),
    "other data": lambda part: np.save(part, np.zeros(3)),
    "a folder": lambda part: (part.unlink(), part.mkdir()),
    "a pipe": lambda part: (part.unlink(), os.mkfifo(part)),
    "a link to nothing": lambda part: (part.unlink(), part.symlink_to("nothing")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_error_names_a_damaged_file_which_can_be_computed_again(tmp_path: Path, damage: str) -> None:
    def encode(texts):
        return np.array([[len(text)] * 384 for text in texts], dtype=np.float16)

    texts = [f"product {'x' * n}" for n in range(20)]
    store_vectors(tmp_path, encode, texts)
    (part,) = tmp_path.glob("part-*.npy")
    DAMAGES[damage](part)
    for use in (open_vectors, lambda folder: store_vectors(folder, encode, texts)):
        with pytest.raises(InputError, match=part.name) as caught:
            use(tmp_path)
        assert "un `reranker vectors` again" in str(caught.value)
    part.rmdir() if part.is_dir() else part.unlink()
    assert store_vectors(tmp_path, encode, texts) == 20
    assert len(open_vectors(tmp_path)) == 20


def test_a_missing_file_is_an_error_until_it_is_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_vectors, "PART", 4)
    texts = [f"product {'x' * n}" for n in range(10)]
    store_vectors(tmp_path, Counting(), texts)
    first, *_ = tmp_path.glob("part-*.npy")
    first.unlink()
    with pytest.raises(InputError, match=rf"{first.name} are missing"):
        open_vectors(tmp_path)
    assert 2 <= store_vectors(tmp_path, Counting(), texts) <= 4
    assert len(open_vectors(tmp_path)) == 10


def test_vectors_that_are_not_finite_are_neither_written_nor_used(tmp_path: Path) -> None:
    for value in (np.nan, np.inf, -np.inf):
        with pytest.raises(InputError, match="not finite numbers"):
            store_vectors(tmp_path, lambda texts, value=value: np.full((len(texts), 4), value, dtype=np.float16), ["a", "b"])
        assert list(tmp_path.glob("part-*")) == []
    store_vectors(tmp_path, Counting(), ["a", "b"])
    (part,) = tmp_path.glob("part-*.npy")
    for value in (np.nan, np.inf, -np.inf):
        data = np.load(part)
        data["vector"][1, 0] = value
        np.save(part, data)
        (tmp_path / CHECKSUMS).unlink(missing_ok=True)
        with pytest.raises(InputError, match=rf"{part.name} hold values that are not finite"):
            open_vectors(tmp_path)


def test_files_of_an_earlier_release_are_used_and_get_a_checksum_when_vectors_are_computed_again(tmp_path: Path) -> None:
    store_vectors(tmp_path, Counting(), ["a", "b"])
    (part,) = tmp_path.glob("part-*.npy")
    written = (tmp_path / CHECKSUMS).read_bytes()
    (tmp_path / CHECKSUMS).unlink()
    assert len(open_vectors(tmp_path)) == 2
    assert store_vectors(tmp_path, Counting(), ["a", "b"]) == 0
    assert (tmp_path / CHECKSUMS).read_bytes() == written
    part.write_bytes(changed(part.read_bytes(), -1))
    with pytest.raises(InputError, match="checksum differs"):
        open_vectors(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"../part": "00"}', "[" * 100_000, "\ud800"])
def test_broken_checksums_are_an_error_that_names_their_file(tmp_path: Path, text: str) -> None:
    store_vectors(tmp_path, Counting(), ["a", "b"])
    (tmp_path / CHECKSUMS).write_text(text, encoding="utf-8", errors="surrogatepass")
    for use in (open_vectors, lambda folder: store_vectors(folder, Counting(), ["a"])):
        with pytest.raises(InputError, match=CHECKSUMS) as caught:
            use(tmp_path)
        assert "Delete that file" in str(caught.value)


def test_a_search_with_damaged_vectors_says_which_file_to_delete(tmp_path: Path) -> None:
    Reranker.load().store_vectors(tmp_path, PRODUCTS)
    (part,) = tmp_path.glob("*/part-*.npy")
    part.write_bytes(changed(part.read_bytes(), -500))
    done = run_command("search", "laptop", "--vectors", str(tmp_path))
    assert done.returncode == 2
    assert f"{part} were changed after they were written" in done.stderr
    assert "Delete that file and run `reranker vectors` again." in done.stderr
    assert "Traceback" not in done.stderr


def test_the_demo_catalogues_vectors_have_a_checksum() -> None:
    folder = demo_file("vectors") / Reranker.load().vector_space
    assert json.loads((folder / CHECKSUMS).read_text()).keys() == {part.name for part in folder.glob("part-*.npy")} != set()


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
