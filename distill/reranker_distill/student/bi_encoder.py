"""A bi-encoder student: query and product are encoded separately, and the cosine of their vectors is the score."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import batch_to_device
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

from reranker.errors import RecipeError
from reranker_distill.length_batching import encode_by_length
from reranker_distill.losses import make_loss
from reranker_distill.recipe import Student as StudentSettings
from reranker_distill.student.start_points import NO_DROPOUT, device, keep_layers
from reranker_distill.trainer import train

SETTINGS = "bi_encoder.json"
SCALE = 5.0
"""Score = scale · cosine: an embedder's cosines of good and bad products differ by some 0.8, labels by ``losses.MARGIN_SCALE``, 4."""


def is_bi_encoder(folder: Path) -> bool:
    """Whether a trained student is a bi-encoder."""
    return (folder / SETTINGS).is_file()


def scale_of(folder: Path) -> float:
    """Return what a trained bi-encoder multiplies its cosines by."""
    return float(json.loads((folder / SETTINGS).read_text(encoding="utf-8"))["scale"])


class ListsOfCosines(nn.Module):
    """Encodes a batch of lists and computes a loss over lists: what transformers' Trainer trains."""

    def __init__(self, embedder: SentenceTransformer, settings: StudentSettings) -> None:
        super().__init__()
        self.embedder = embedder
        self.loss = make_loss(settings.loss, None)

    def forward(self, queries: Sequence[str], lists: Sequence[Sequence[str]], labels: Sequence[Sequence[float]]) -> dict[str, Tensor]:
        query_vectors = self._vectors(list(queries))
        products = self._vectors([text for texts in lists for text in texts]).split([len(texts) for texts in lists])
        scores = [SCALE * (own @ query) for own, query in zip(products, query_vectors, strict=True)]
        return {"loss": self.loss.of_lists(scores, [torch.tensor(wanted, device=query_vectors.device) for wanted in labels])}

    def _vectors(self, texts: list[str]) -> Tensor:
        return nn.functional.normalize(encode_by_length(texts, self._pooled), dim=1)

    def _pooled(self, texts: list[Any]) -> Tensor:
        features = batch_to_device(self.embedder.preprocess(texts), self.embedder.device)
        pooled: Tensor = self.embedder(features)["sentence_embedding"].float()
        return pooled


def train_bi_encoder(
    rows: Sequence[Mapping[str, Any]], *, checkpoint: str, settings: StudentSettings, arguments: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    """Train the student on lists (``product_lists``) and save it into ``folder``, a folder that SentenceTransformer loads.

    Source of the method: margins as for a cross-encoder (arXiv 2505.07105, 2010.02666).

    Raises:
        RecipeError: the start point cannot be loaded, or has fewer layers.
    """
    embedder = load_bi_encoder(checkpoint, settings)
    model = ListsOfCosines(embedder, settings)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**arguments, remove_unused_columns=False, label_names=["labels"]),
        train_dataset=Dataset.from_list([dict(row) for row in rows]),  # type: ignore[arg-type]
        data_collator=_collate,
    )
    result = train(trainer, "student", "training the student", folder)
    embedder.save_pretrained(str(folder))
    (folder / SETTINGS).write_text(json.dumps({"scale": SCALE}), encoding="utf-8")
    network: Any = embedder[0]
    config = network.auto_model.config
    return {
        "loss": round(result.training_loss, 4),
        "parameters": sum(p.numel() for p in network.auto_model.parameters()),
        "layers": config.num_hidden_layers,
        "width": config.hidden_size,
    }


def _collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"queries": [row["query"] for row in rows], "lists": [row["docs"] for row in rows], "labels": [row["labels"] for row in rows]}


def load_bi_encoder(checkpoint: str, settings: StudentSettings) -> SentenceTransformer:
    """Return the untrained student: an embedder that pools by the mean, cut to ``settings.layers``.

    Raises:
        RecipeError: it cannot be loaded, does not pool by the mean, or has fewer layers.
    """
    try:
        embedder = SentenceTransformer(checkpoint, device=device(), config_kwargs=NO_DROPOUT)
    except (OSError, ValueError, RuntimeError) as error:
        raise RecipeError(f"The student's start point {checkpoint} cannot be loaded: {error}", hint="Give a hub name or folder of an embedder.") from error
    modules = [type(module).__name__ for module in embedder]
    pooling: dict[str, Any] = embedder[1].get_config_dict() if modules[1:2] == ["Pooling"] else {}
    if modules[:1] != ["Transformer"] or not (pooling.get("pooling_mode") == "mean" or pooling.get("pooling_mode_mean_tokens")):
        raise RecipeError(
            f"A bi-encoder student pools by the mean; {checkpoint} is {' + '.join(modules)}.", hint="Start from an embedder such as all-MiniLM-L6-v2."
        )
    embedder.max_seq_length = settings.max_length
    if settings.layers is not None:
        network: Any = embedder[0]
        keep_layers(network.auto_model, settings.layers, checkpoint)
    return embedder
