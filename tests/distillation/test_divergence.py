"""A training that diverges ends with a clear error, and leaves no model that answers NaN."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from reranker.judgments import Judgment
from reranker.text import ProductTemplate
from reranker_distill.checkpoints import resolve_checkpoint
from reranker_distill.pairs import LabelledPair
from reranker_distill.recipe import Student, Teacher
from reranker_distill.student.training import train_student
from reranker_distill.teacher.fine_tuned import fine_tune
from reranker_distill.trainer import DivergedError
from tests.tiny_decoder import make_tiny_decoder

SHOP = {str(i): {"id": str(i), "title": ("laptop", "hose", "lamp", "bag")[i % 4]} for i in range(8)}


@pytest.mark.parametrize("epochs", [1.0, 6.0])  # before the first line of the log, and after it
def test_a_teacher_that_diverges_is_reported_and_not_kept(epochs: float, tmp_path: Path) -> None:
    decoder = make_tiny_decoder(tmp_path / "decoder")
    settings = Teacher(model=str(decoder), bf16=False, lora_rank=4, learning_rate=1e30, epochs=epochs, batch_size=8, max_length=24)
    judgments = [
        Judgment(query, id_, 3 * (product["title"] == query), query, ()) for query in ("laptop", "bag", "lamp", "hose") for id_, product in SHOP.items()
    ]
    folder = tmp_path / "teacher"
    folder.mkdir()
    with pytest.raises(DivergedError, match=r"teacher's training diverged") as error:
        fine_tune(judgments, SHOP, checkpoint=str(decoder), settings=settings, template=ProductTemplate(), seed=3, folder=folder)
    assert "1e+30" in error.value.hint
    assert not list(folder.rglob("*.safetensors"))


@pytest.mark.parametrize("architecture", ["bi_encoder", "cross_encoder"])
def test_a_student_that_diverges_is_reported_and_not_kept(architecture: str, tmp_path: Path) -> None:
    labelled = [
        LabelledPair(query, id_, "log/top 1", distribution=(1.0, 0.0), fused=float(product["title"] == query))
        for query in ("laptop", "bag")
        for id_, product in SHOP.items()
    ]
    settings = Student(architecture=architecture, layers=1, learning_rate=1e30, epochs=4)
    with pytest.raises(DivergedError, match=r"student's training diverged"):
        train_student(
            labelled, SHOP, checkpoint=resolve_checkpoint(settings.model, tmp_path), settings=settings, template=ProductTemplate(), seed=3, folder=tmp_path
        )
    assert not list(tmp_path.rglob("*.safetensors"))
