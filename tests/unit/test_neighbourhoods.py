"""Vectors that lean on their neighbours': what they do to a ranking, and that the shipped ones fit what is shipped."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from reranker import Reranker, neighbourhoods
from reranker.demo_data import demo_file
from reranker.neighbourhoods import Neighbourhoods, lean_on_neighbours, sketch_attribute_names
from reranker.products import read_catalog

LAPTOP = {"title": "Notebook 15", "attributes": {"Processor": "i5", "RAM": "8 GB", "Keyboard layout": "QWERTY"}}
BAG = {"title": "Sleeve", "attributes": {"Case type": "Sleeve", "Material": "Felt", "Strap": "Yes"}}


def unit(*rows: tuple[float, ...]) -> np.ndarray:
    vectors = np.array(rows, dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_a_misleading_title_is_outvoted_by_its_kind() -> None:
    laptops, bags = [(1.0, 0.2, 0.01 * i) for i in range(5)], [(0.2, 1.0, 0.01 * i) for i in range(5)]
    misleading = (1.0, 0.8, 0.0)  # "notebook" on a bag
    vectors = unit(*laptops, *bags, misleading)
    names = sketch_attribute_names([LAPTOP] * 5 + [BAG] * 6)
    laptop = unit((1.0, 0.25, 0.0))[0]
    before, after = vectors @ laptop, lean_on_neighbours(vectors, names, Neighbourhoods(most=5)) @ laptop
    assert after[:5].min() - after[-1] > (before[:5].min() - before[-1]) + 0.1
    assert after[-1] > after[5:10].max()


def test_a_product_like_no_other_stays_as_it_is_and_lengths_are_one_in_the_mean() -> None:
    vectors = unit((1, 0, 0), (0.99, 0.1, 0), (0, 0, 1))
    leant = lean_on_neighbours(vectors, sketch_attribute_names(["a", "b", "c"]))
    assert leant[2] / np.linalg.norm(leant[2]) == pytest.approx(vectors[2])
    assert np.linalg.norm(leant, axis=1).mean() == pytest.approx(1)
    assert np.linalg.norm(leant[2]) > np.linalg.norm(leant[0])
    assert lean_on_neighbours(vectors[:0], sketch_attribute_names([])).shape == (0, 3)


def test_of_more_equals_than_are_asked_for_a_product_is_its_own_neighbour() -> None:
    vectors = unit(*[(1, 0)] * 20)
    names = sketch_attribute_names([LAPTOP] * 20)
    assert lean_on_neighbours(vectors, names, Neighbourhoods(most=1)) == pytest.approx(vectors)
    told: list[int] = []
    assert lean_on_neighbours(vectors, names, on_products=told.append) == pytest.approx(vectors)
    assert sum(told) == 20


def test_in_a_large_catalogue_most_neighbours_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    kinds = random.normal(size=(60, 32))
    vectors = unit(*(kinds[random.integers(60, size=3000)] + 0.5 * random.normal(size=(3000, 32))))
    names = sketch_attribute_names(["text"] * 3000)
    among_all = lean_on_neighbours(vectors, names)
    monkeypatch.setattr(neighbourhoods, "SOUGHT_AMONG_ALL", 100)
    told: list[int] = []
    in_regions = lean_on_neighbours(vectors, names, on_products=told.append)
    assert sum(told) == 3000
    moved = np.linalg.norm(among_all - vectors, axis=1).mean()
    assert np.linalg.norm(in_regions - among_all, axis=1).mean() < 0.3 * moved


def test_attribute_names_tell_kinds_apart_and_rare_ones_nothing() -> None:
    without = [{"title": "Odd", "attributes": {"Only here": "1"}}, {"title": "None", "attributes": None}, "text"]
    sketched = sketch_attribute_names([LAPTOP, LAPTOP, BAG, BAG, *without])
    likeness = sketched @ sketched.T
    assert likeness[0, 1] == pytest.approx(1, abs=1e-4)
    assert abs(likeness[0, 2]) < 0.25
    assert not sketched[4:].any()


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("catalogue") / "products.jsonl"
    products = [{"id": f"l{i}", **LAPTOP, "title": f"Laptop computer model {i}"} for i in range(12)]
    products += [{"id": f"b{i}", **BAG, "title": f"Backpack for notebooks model {i}"} for i in range(12)]
    products.append({"id": "misleading", **BAG, "title": "Laptop computer backpack"})
    path.write_text("\n".join(json.dumps(product) for product in products), encoding="utf-8")
    return path


def vectors(catalogue: Path, out: Path, *more: str) -> dict:
    words = ["vectors", "--catalog", str(catalogue), "--out", str(out), "--json", *more]
    done = subprocess.run([sys.executable, "-m", "reranker", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict = json.loads(done.stdout)
    return found


def scores(out: Path, catalogue: Path) -> np.ndarray:
    student = Reranker.load()
    student.use_vectors(out)
    return student.score("laptop", list(read_catalog(catalogue)))


def test_the_command_lets_vectors_lean_and_undoes_it(catalogue: Path, tmp_path: Path) -> None:
    assert vectors(catalogue, tmp_path)["computed"] == 25
    (file,) = tmp_path.glob("*/neighbours-*.npy")
    written = file.stat().st_mtime_ns
    leant = scores(tmp_path, catalogue)
    assert vectors(catalogue, tmp_path)["computed"] == 0
    assert file.stat().st_mtime_ns == written  # nothing has changed, nothing is done
    vectors(catalogue, tmp_path, "--neighbours", "1")
    alone = scores(tmp_path, catalogue)
    assert alone == pytest.approx(Reranker.load().score("laptop", list(read_catalog(catalogue))), abs=0.01)
    assert leant[:12].min() - leant[-1] > alone[:12].min() - alone[-1] + 0.01
    assert len(list(tmp_path.glob("*/neighbours-*.npy"))) == 1


def test_what_leant_in_another_catalogue_is_kept(catalogue: Path, tmp_path: Path) -> None:
    vectors(catalogue, tmp_path / "vectors")
    before = scores(tmp_path / "vectors", catalogue)
    other = tmp_path / "other.jsonl"
    other.write_text('{"id": "1", "title": "Printer"}\n{"id": "2", "title": "Laser printer"}', encoding="utf-8")
    assert vectors(other, tmp_path / "vectors")["computed"] == 2
    assert (scores(tmp_path / "vectors", catalogue) == before).all()
    student = Reranker.load()
    assert student.use_vectors(tmp_path / "vectors") == 27


@pytest.mark.parametrize("name", ["default", "fast"])
def test_shipped_vectors_are_those_of_the_shipped_bundles_and_the_demo_catalogue(name: str) -> None:
    """Where this fails, bundles or catalogue are new: `reranker vectors --out reranker/data/icecat/vectors`, and keep the neighbours file alone."""
    student = Reranker.load(name)
    products = list(read_catalog(demo_file("products.jsonl.gz")))
    assert student.vectors_stored == len({student.template.render(product) for product in products})
    student.remember(products)
    assert student.vectors_made == 0
    student.forget()
    student.remember(products[:3])
    assert student.vectors_made == 3
