"""Training the student: a bi-encoder, or here a cross-encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments

from reranker.errors import RecipeError
from reranker.products import Product
from reranker.text import ProductTemplate
from reranker_distill.losses import make_loss
from reranker_distill.pairs import LabelledPair
from reranker_distill.recipe import Student as StudentSettings
from reranker_distill.student.bi_encoder import train_bi_encoder
from reranker_distill.student.lists import product_lists
from reranker_distill.student.start_points import load_start_point
from reranker_distill.trainer import train, training_arguments


def train_student(
    labelled: Sequence[LabelledPair],
    products: Mapping[str, Product],
    *,
    checkpoint: str,
    settings: StudentSettings,
    template: ProductTemplate,
    seed: int,
    folder: Path,
) -> dict[str, Any]:
    """Train the student and save it into ``folder``; resumes from a checkpoint left there. Returns the stage's report.

    Raises:
        RecipeError: no query has two products, or the start point cannot be loaded.
        DivergedError: loss or weights are no longer finite.
    """
    torch.manual_seed(seed)
    rows = product_lists(labelled, products, template, settings.loss, seed)
    if not rows:
        raise RecipeError("No query has two labelled products, so there are no margins to learn.", hint="Raise the recipe's [augmentation] numbers.")
    arguments = training_arguments(settings, seed=seed, folder=folder, batch=settings.lists_per_batch)
    if settings.architecture == "bi_encoder":
        trained = train_bi_encoder(rows, checkpoint=checkpoint, settings=settings, arguments=arguments, folder=folder)
    else:
        trained = _train_cross_encoder(rows, checkpoint=checkpoint, settings=settings, arguments=arguments, folder=folder)
    return {
        "architecture": settings.architecture,
        "pairs": sum(len(row["docs"]) for row in rows),
        "lists": len(rows),
        "epochs": settings.epochs,
        "loss_function": settings.loss,
        **trained,
    }


def _train_cross_encoder(
    rows: list[dict[str, Any]], *, checkpoint: str, settings: StudentSettings, arguments: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    model = load_start_point(checkpoint, settings)
    trainer = CrossEncoderTrainer(
        model=model,
        args=CrossEncoderTrainingArguments(**arguments),
        train_dataset=Dataset.from_list(rows),
        loss=make_loss(settings.loss, model),
    )
    result = train(trainer, "student", "training the student", folder)
    model.save_pretrained(str(folder))
    network: Any = model.model
    return {
        "loss": round(result.training_loss, 4),
        "parameters": sum(p.numel() for p in network.parameters()),
        "layers": network.config.num_hidden_layers,
        "width": network.config.hidden_size,
    }
