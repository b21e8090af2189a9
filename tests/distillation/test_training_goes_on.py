"""A stopped training resumes from its last checkpoint, and gives the same model as an unstopped one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from transformers import AutoTokenizer, BertConfig, BertModel, Trainer

from benchmarks.experiments.student_scores import load_scores
from reranker.judgments import Judgment
from reranker.text import ProductTemplate
from reranker_distill.pairs import LabelledPair
from reranker_distill.recipe import Student, Teacher
from reranker_distill.student.training import train_student
from reranker_distill.teacher import load_teacher
from reranker_distill.teacher.fine_tuned import fine_tune
from tests.tiny_decoder import make_tiny_decoder

SHOP = {str(i): {"id": str(i), "title": f"{('red', 'black', 'white')[i % 3]} {('laptop', 'hose', 'lamp', 'bag')[i % 4]}"} for i in range(12)}
QUERIES = ("laptop", "hose", "lamp", "bag")
PAIRS = [(query, product) for query in QUERIES for product in SHOP]


def relevant(query: str, product: str) -> bool:
    return query in SHOP[product]["title"]


def encoder(folder: Path) -> Path:
    tokenizer = AutoTokenizer.from_pretrained(make_tiny_decoder(folder))
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=32, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)).save_pretrained(folder)
    return folder


def student(architecture: str, start: Path) -> Callable[[Path], np.ndarray]:
    labelled = [LabelledPair(query, product, "judged/judged", (0.0, 1.0) if relevant(query, product) else (1.0, 0.0)) for query, product in PAIRS]

    def train(folder: Path) -> np.ndarray:
        folder.mkdir(exist_ok=True)
        settings = Student(model=str(start), architecture=architecture, epochs=60, lists_per_batch=2, learning_rate=1e-3)
        train_student(labelled, SHOP, checkpoint=str(start), settings=settings, template=ProductTemplate(), seed=3, folder=folder)
        return load_scores(folder)([(query, SHOP[product]["title"]) for query, product in PAIRS])

    return train


def teacher(start: Path, lora_rank: int) -> Callable[[Path], np.ndarray]:
    judgments = [Judgment(query, product, 3 if relevant(query, product) else 0, query) for query, product in PAIRS]

    def train(folder: Path) -> np.ndarray:
        folder.mkdir(exist_ok=True)
        settings = Teacher(model=str(start), bf16=False, lora_rank=lora_rank, learning_rate=1e-3, epochs=12, batch_size=8, max_length=24)
        fine_tune(judgments, SHOP, checkpoint=str(start), settings=settings, template=ProductTemplate(), seed=3, folder=folder)
        return load_teacher(folder).distributions([(query, SHOP[product]) for query, product in PAIRS])

    return train


@pytest.mark.parametrize("kind", ["cross_encoder", "bi_encoder", "decoder with LoRA", "encoder with all its weights"])
def test_a_stopped_training_resumes_and_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    start = make_tiny_decoder(tmp_path / "start") if kind.startswith("decoder") else encoder(tmp_path / "start")
    train = teacher(start, 4 if "LoRA" in kind else 0) if "with" in kind else student(kind, start)
    whole = train(tmp_path / "whole")
    message = capsys.readouterr()
    assert message.out == "", "a script that asked for the report as JSON reads nothing else there"
    assert "training the " in message.err

    steps: list[int] = []
    step = Trainer.training_step

    def counted(self: Trainer, *arguments: object, **more: object) -> object:
        steps.append(self.state.global_step)
        if len(steps) == 110 if kind[-5:] == "coder" else len(steps) == 60:
            raise KeyboardInterrupt
        return step(self, *arguments, **more)

    monkeypatch.setattr(Trainer, "training_step", counted)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped")
    first, steps[:] = steps[-1], []
    gone_on = train(tmp_path / "stopped")
    assert 0 < first - steps[0] < first, "from its last state, and not from the beginning"
    np.testing.assert_allclose(gone_on, whole, atol=0.02 if "with" in kind else 1e-4)  # a teacher's batches are drawn anew
