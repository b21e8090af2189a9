"""A start point is cut as asked, still scores, and says so where it cannot be."""

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


@pytest.mark.parametrize(("asked", "layers", "width"), [({"layers": 2}, 2, 384), ({"layers": 1, "width": 128}, 1, 128), ({"layers": 2, "width": 256}, 2, 256)])
def test_it_has_the_depth_and_width_that_were_asked_for(checkpoint: str, asked: dict[str, int], layers: int, width: int, tmp_path: Path) -> None:
    model = load_start_point(checkpoint, Student(**asked))
    config = model.model.config
    assert (config.num_hidden_layers, config.hidden_size, config.num_attention_heads, config.intermediate_size) == (layers, width, width // 32, 4 * width)
    assert model.model.bert.embeddings.word_embeddings.weight.shape == (30522, width)
    scores = model.predict(PAIRS, show_progress_bar=False)
    assert np.isfinite(scores).all()
    model.save_pretrained(str(tmp_path / "saved"))
    again = load_start_point(str(tmp_path / "saved"), Student())  # a cross-encoder's folder is a start point too, and keeps its head
    np.testing.assert_allclose(again.predict(PAIRS, show_progress_bar=False), scores, atol=1e-5)


@pytest.mark.parametrize("asked", [{"layers": 2}, {"layers": 1, "width": 128}, {"layers": 2, "architecture": "bi_encoder"}])
def test_nothing_is_dropped_while_it_learns(checkpoint: str, asked: dict[str, object]) -> None:
    settings = Student(**asked)
    model = load_bi_encoder(checkpoint, settings) if settings.architecture == "bi_encoder" else load_start_point(checkpoint, settings)
    network = model[0].train()
    tokens = {name: value.to(model.device) for name, value in model.preprocess(["HP ProBook 450 notebook"]).items() if isinstance(value, torch.Tensor)}
    first, second = (next(value for value in network(dict(tokens)).values() if value.is_floating_point()) for _ in range(2))
    torch.testing.assert_close(first, second)


def test_a_narrow_start_point_keeps_which_words_are_alike(checkpoint: str) -> None:
    def likeness(model) -> np.ndarray:
        ids = model.tokenizer.convert_tokens_to_ids(["laptop", "notebook", "computer", "shoes", "boots", "cheese", "milk", "printer", "toner"])
        words = model.model.bert.embeddings.word_embeddings.weight.detach()[ids]
        words = torch.nn.functional.normalize(words, dim=-1)
        return (words @ words.T).cpu().numpy()[np.triu_indices(len(ids), 1)]

    wide, narrow = (load_start_point(checkpoint, Student(layers=1, width=width)) for width in (None, 256))
    assert np.corrcoef(likeness(wide), likeness(narrow))[0, 1] > 0.9


@pytest.mark.parametrize(
    ("asked", "told"),
    [({"width": 100}, "multiple of 32 below 384"), ({"width": 384}, "multiple of 32 below 384"), ({"layers": 7}, "has 6")],
)
def test_a_cut_that_cannot_be_made_is_told(checkpoint: str, asked: dict[str, int], told: str) -> None:
    with pytest.raises(RecipeError) as error:
        load_start_point(checkpoint, Student(**asked))
    assert told in str(error.value)


def test_a_start_point_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be loaded"):
        load_start_point(str(tmp_path / "nothing"), Student())
