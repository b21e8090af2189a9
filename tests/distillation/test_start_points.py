"""A start point keeps the configured layers and still scores; too many layers are an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from reranker.errors import RecipeError
from reranker_distill.checkpoints import resolve_checkpoint
from reranker_distill.recipe import Student
from reranker_distill.student.bi_encoder import load_bi_encoder
from reranker_distill.student.start_points import load_start_point

PAIRS = [("laptop", "HP ProBook 450 notebook"), ("tv", "garden hose")]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return resolve_checkpoint("all-MiniLM-L6-v2", tmp_path_factory.mktemp("models"))


def test_it_keeps_as_many_layers_as_asked_for(checkpoint: str, tmp_path: Path) -> None:
    model = load_start_point(checkpoint, Student(layers=2))
    assert (model.model.config.num_hidden_layers, len(model.model.bert.encoder.layer)) == (2, 2)
    scores = model.predict(PAIRS, show_progress_bar=False)
    assert np.isfinite(scores).all()
    model.save_pretrained(str(tmp_path / "saved"))
    again = load_start_point(str(tmp_path / "saved"), Student())  # a cross-encoder's folder is a start point too, and keeps its head
    np.testing.assert_allclose(again.predict(PAIRS, show_progress_bar=False), scores, atol=1e-5)


@pytest.mark.parametrize("asked", [{"layers": 2}, {"layers": 2, "architecture": "bi_encoder"}])
def test_nothing_is_dropped_while_it_learns(checkpoint: str, asked: dict[str, object]) -> None:
    settings = Student(**asked)
    model = load_bi_encoder(checkpoint, settings) if settings.architecture == "bi_encoder" else load_start_point(checkpoint, settings)
    network = model[0].train()
    tokens = {name: value.to(model.device) for name, value in model.preprocess(["HP ProBook 450 notebook"]).items() if isinstance(value, torch.Tensor)}
    first, second = (next(value for value in network(dict(tokens)).values() if value.is_floating_point()) for _ in range(2))
    torch.testing.assert_close(first, second)


def test_more_layers_than_there_are_is_an_error(checkpoint: str) -> None:
    with pytest.raises(RecipeError, match="has 6"):
        load_start_point(checkpoint, Student(layers=7))


def test_a_start_point_that_is_none_is_reported(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be loaded"):
        load_start_point(str(tmp_path / "nothing"), Student())
