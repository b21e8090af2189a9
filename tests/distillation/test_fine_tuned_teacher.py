"""A fine-tuned teacher: what it learns of a judgment, and a tiny decoder LLM that learns it with LoRA."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from reranker.errors import RecipeError
from reranker.judgments import Judgment
from reranker.text import ProductTemplate
from reranker_distill.recipe import Teacher
from reranker_distill.teacher import load_teacher
from reranker_distill.teacher.fine_tuned import fine_tune
from reranker_distill.teacher.soft_targets import expected_relevance, soft_target
from tests.tiny_decoder import make_tiny_decoder

SPLIT = Judgment("laptop", "1", 2, "laptop", (3, 2, 2, 1))
SHOP = {str(i): {"id": str(i), "title": ("laptop", "hose", "lamp", "bag")[i % 4]} for i in range(8)}
GOOD = ("laptop", "bag")
JUDGMENTS = [
    Judgment(query, product_id, 3, query, (3, 3, 2)) if product["title"] in GOOD else Judgment(query, product_id, 0, query, (0, 0, 1))
    for query in ("laptop", "bag", "search", "relevance")
    for product_id, product in SHOP.items()
]


@pytest.mark.parametrize(
    ("settings", "target"),
    [
        ({}, [0, 0.25, 0.5, 0.25]),
        ({"smoothing": 0.5}, [0, 0.125, 0.75, 0.125]),
        ({"smoothing": 1.0}, [0, 0, 1, 0]),
        ({"classes": ("a", "b", "c", "d", "e")}, [0, 0.25, 0.5, 0.25, 0]),
    ],
)
def test_votes_become_a_distribution_over_grades(settings: dict, target: list[float]) -> None:
    made = soft_target(SPLIT, Teacher(**settings))
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, target)


def test_without_votes_the_final_grade_is_the_target() -> None:
    np.testing.assert_array_equal(soft_target(SPLIT._replace(votes=()), Teacher()), [0, 0, 1, 0])


def test_relevance_is_the_expected_grade_between_0_and_1() -> None:
    np.testing.assert_allclose(expected_relevance(np.array([[1, 0, 0, 0], [0, 0, 0, 1], [0.5, 0, 0, 0.5]], np.float32)), [0, 1, 0.5])


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_decoder(tmp_path_factory.mktemp("decoder"))


def train(decoder: Path, folder: Path, **changes: object) -> dict:
    defaults = {"model": str(decoder), "bf16": False, "lora_rank": 4, "learning_rate": 5e-3, "epochs": 6, "batch_size": 8, "max_length": 24}
    settings = Teacher(**{**defaults, **changes})
    folder.mkdir()
    return fine_tune(JUDGMENTS, SHOP, checkpoint=str(decoder), settings=settings, template=ProductTemplate(), seed=3, folder=folder)


def test_a_decoder_learns_with_lora_and_labels_from_its_folder(decoder: Path, tmp_path: Path) -> None:
    report = train(decoder, tmp_path / "teacher", classes=("Irrelevant", "Complement", "Substitute", "Exact"))
    assert report["pairs"] == len(JUDGMENTS)
    config = json.loads((tmp_path / "teacher" / "config.json").read_text())
    assert config["id2label"] == {"0": "Irrelevant", "1": "Complement", "2": "Substitute", "3": "Exact"}
    assert config["label2id"]["Exact"] == 3
    assert not (tmp_path / "teacher" / "adapter_config.json").exists()
    teacher = load_teacher(tmp_path / "teacher")
    done: list[int] = []
    graded = teacher.distributions([(j.query, SHOP[j.product_id]) for j in JUDGMENTS], tokens_per_batch=128, on_pairs=done.append)
    assert graded.shape == (len(JUDGMENTS), 4)
    assert sum(done) == len(JUDGMENTS)
    np.testing.assert_allclose(graded.sum(axis=1), 1, atol=1e-5)
    relevance = expected_relevance(graded)
    assert relevance[[j.rating == 3 for j in JUDGMENTS]].mean() > relevance[[j.rating == 0 for j in JUDGMENTS]].mean() + 0.2
    np.testing.assert_allclose(teacher.relevance("laptop", [SHOP["0"], SHOP["1"]]), relevance[:2], atol=1e-4)


def test_a_product_is_read_once_for_all_its_queries_and_graded_as_alone(decoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(decoder, tmp_path / "teacher", epochs=1, max_length=40)
    teacher = load_teacher(tmp_path / "teacher")
    products = [{"id": str(n), "title": " ".join(("laptop", "hose", "lamp", "desk", "hub")[(n + i) % 5] for i in range(3 * n + 1))} for n in range(7)]
    pairs = [(query, product) for query in ("bag", "red usb hub", "garden hose black", "white laptop bag garden desk") for product in products]
    read: list[int] = []
    forward = type(teacher.model).forward

    def counted(self: torch.nn.Module, *args: object, **given: torch.Tensor) -> object:
        read.append(given["input_ids"].numel())
        return forward(self, *args, **given)

    monkeypatch.setattr(type(teacher.model), "forward", counted)
    alone = np.concatenate([teacher.distributions([pair]) for pair in pairs])
    read_alone = sum(read)
    np.testing.assert_allclose(teacher.distributions(pairs, tokens_per_batch=30), alone, atol=1e-6)  # less than a product's prompts
    read.clear()
    np.testing.assert_allclose(teacher.distributions(pairs), alone, atol=1e-6)
    assert sum(read) < 0.7 * read_alone


def test_gradient_checkpointing_and_accumulation_train_the_same_teacher(decoder: Path, tmp_path: Path) -> None:
    pairs = [(j.query, SHOP[j.product_id]) for j in JUDGMENTS[:10]]

    losses = {}

    def labels(name: str, **changes: object) -> np.ndarray:
        losses[name] = train(decoder, tmp_path / name, epochs=2, **changes)["loss"]
        return load_teacher(tmp_path / name).distributions(pairs, tokens_per_batch=128)

    plain = labels("plain")
    np.testing.assert_array_equal(labels("again"), plain)
    torch.manual_seed(99)
    np.testing.assert_allclose(labels("checkpointed", gradient_checkpointing=True), plain, atol=1e-5)
    accumulated = labels("accumulated", batch_size=4, gradient_accumulation=2)
    assert np.abs(accumulated - plain).max() < 0.05  # LoRA's dropout differs; the step does not
    assert losses["accumulated"] == pytest.approx(losses["plain"], rel=0.1)  # the mean over a step's pairs, not a sum over its batches
    assert np.abs(labels("hard", smoothing=1.0) - plain).max() > 1e-4


def test_a_checkpoint_that_cannot_be_loaded_is_reported(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")
    with pytest.raises(RecipeError, match="cannot be loaded"):
        train(tmp_path / "broken", tmp_path / "teacher")
