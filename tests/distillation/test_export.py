"""int8 arithmetic is used as far as it keeps the order of the scores, and no further."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from reranker.demo_data import demo_file
from reranker.products import read_catalog
from reranker.text import ProductTemplate
from reranker_distill.checkpoints import resolve_checkpoint
from reranker_distill.export import export_student, model_file
from reranker_distill.recipe import Student
from reranker_distill.student.start_points import load_start_point

HARMED = "layer.0/output/dense"


@pytest.fixture(scope="module")
def pairs() -> list[tuple[str, str]]:
    products = [product for product, _ in zip(read_catalog(demo_file("products.jsonl.gz")), range(60), strict=False)]
    return [(query, ProductTemplate().render(product)) for product, query in zip(products, ["laptop", "usb hub", "tv"] * 20, strict=True)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]) -> Path:
    """A tiny student one of whose layers, the one that tells pairs apart, reads a value far above the others, which takes most of its 8 bits."""
    folder = tmp_path_factory.mktemp("student")
    torch.manual_seed(0)
    model = load_start_point(resolve_checkpoint("all-MiniLM-L6-v2", folder / "models"), Student(layers=2, max_length=48))
    layer = model.model.bert.encoder.layer[0]
    with torch.no_grad():
        layer.intermediate.dense.bias[0] += 400
        layer.output.dense.weight[:, 0] /= 4_000
        layer.output.dense.weight[:, 1:] *= 5
        model.model.classifier.weight *= 50
    model.save_pretrained(str(folder / "trained"))
    return folder / "trained"


def export(student: Path, folder: Path, pairs: list[tuple[str, str]], **settings) -> dict:
    folder.mkdir(exist_ok=True)
    return export_student(student, folder, pairs=pairs, max_length=48, **settings)


def test_the_layer_that_harms_the_order_most_is_left_in_floats(exported: Path, pairs: list[tuple[str, str]], tmp_path: Path) -> None:
    report = export(exported, tmp_path, pairs, least_agreement=0.95)
    assert report["agreement"]["int8_of_all_layers"]["spearman"] < 0.95 <= report["agreement"]["int8"]["spearman"]
    assert HARMED in report["left_in_fp32"][0]
    assert len(report["left_in_fp32"]) <= 4
    assert report["precision"] == "int8"
    assert report["megabytes"]["int8"] < report["megabytes"]["fp32"] / 3


def test_a_demand_that_int8_cannot_meet_is_met_by_floats(exported: Path, pairs: list[tuple[str, str]], tmp_path: Path) -> None:
    report = export(exported, tmp_path, pairs, least_agreement=1.0)
    assert report["precision"] == "fp32"
    assert report["left_in_fp32"] is None
    assert "int8" not in report["agreement"]
    assert not model_file(tmp_path, "int8").exists()


def test_without_demands_every_layer_is_int8(exported: Path, pairs: list[tuple[str, str]], tmp_path: Path) -> None:
    report = export(exported, tmp_path, pairs, least_agreement=0.0)
    assert report["precision"] == "int8"
    assert report["left_in_fp32"] == []
