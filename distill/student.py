"""The student: a small cross-encoder that learns the teacher's margins."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
from torch import nn

from distill.checkpoints import CHECKPOINTS, last_checkpoint
from distill.margin_loss import ListMarginMSELoss
from distill.pairs import LabelledPair
from distill.recipe import Student as StudentSettings
from reranker.errors import RecipeError
from reranker.products import Product
from reranker.text import ProductTemplate

MARGIN_SCALE = 4.0
"""Relevance is learnt at this scale: margins of up to 4 keep the loss and its gradients of order one."""


def target(pair: LabelledPair, margin_of: str) -> float:
    """Return the score whose margins the student learns: relevance · ``MARGIN_SCALE``, or its log-odds (−4 to 4)."""
    if margin_of == "relevance":
        return pair.relevance * MARGIN_SCALE
    return float(np.clip(np.log((pair.relevance + 1e-6) / (1 - pair.relevance + 1e-6)), -4, 4))


def product_lists(
    labelled: Sequence[LabelledPair], products: Mapping[str, Product], template: ProductTemplate, settings: StudentSettings, seed: int
) -> list[dict[str, Any]]:
    """Group the labelled pairs by query into lists of at most ``products_per_list``, every product in one list of its query.

    A list is a mixture of relevant and irrelevant products where the query has both: products are dealt in the order
    of their relevance.
    """
    rng = random.Random(seed)
    by_query: dict[str, list[LabelledPair]] = defaultdict(list)
    for pair in labelled:
        by_query[pair.query].append(pair)
    rows = []
    for query, pairs in by_query.items():
        rng.shuffle(pairs)
        pairs.sort(key=lambda p: -p.relevance)
        n = -(-len(pairs) // settings.products_per_list)
        for hand in (pairs[i::n] for i in range(n)):
            if len(hand) > 1:
                rows.append(
                    {
                        "query": query,
                        "docs": [template.render(products[p.product_id]) for p in hand],
                        "labels": [target(p, settings.margin_of) for p in hand],
                    }
                )
    rng.shuffle(rows)
    return rows


def load_start_point(checkpoint: str, settings: StudentSettings) -> CrossEncoder:
    """Return the untrained student: a checkpoint with a fresh one-score head, cut to ``settings.layers``."""
    try:
        model = CrossEncoder(checkpoint, num_labels=1, max_length=settings.max_length, activation_fn=nn.Identity(), device=_device())
    except (OSError, ValueError) as error:
        raise RecipeError(f"The student's start point {checkpoint} cannot be loaded: {error}", hint="Give a hub name or folder of an encoder.") from error
    if settings.layers is not None:
        network: Any = model.model
        encoder = network.base_model.encoder
        if settings.layers > len(encoder.layer):
            raise RecipeError(f"student.layers is {settings.layers}; {checkpoint} has {len(encoder.layer)}.", hint="Ask for fewer layers.")
        kept = np.linspace(0, len(encoder.layer) - 1, settings.layers).round().astype(int)
        encoder.layer = nn.ModuleList([encoder.layer[i] for i in kept])
        network.config.num_hidden_layers = settings.layers
    return model


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
    """Train the student and save it into ``folder``; goes on from a checkpoint left there. Returns what the report says of it.

    Raises:
        RecipeError: no query has two products, or the start point cannot be loaded.
    """
    torch.manual_seed(seed)
    rows = product_lists(labelled, products, template, settings, seed)
    if not rows:
        raise RecipeError("No query has two labelled products, so there are no margins to learn.", hint="Raise the recipe's [augmentation] numbers.")
    model = load_start_point(checkpoint, settings)
    arguments = CrossEncoderTrainingArguments(
        output_dir=str(folder / CHECKPOINTS),
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        per_device_train_batch_size=settings.lists_per_batch,
        warmup_ratio=0.06,
        lr_scheduler_type="linear",
        bf16=settings.bf16,
        use_cpu=not torch.accelerator.is_available(),
        seed=seed,
        save_steps=100,
        save_total_limit=1,
        logging_steps=25,
        report_to="none",
        dataloader_pin_memory=False,
    )
    trainer = CrossEncoderTrainer(model=model, args=arguments, train_dataset=Dataset.from_list(rows), loss=ListMarginMSELoss(model))
    result = trainer.train(resume_from_checkpoint=last_checkpoint(folder))
    model.save_pretrained(str(folder))
    network: Any = model.model
    return {
        "pairs": sum(len(row["docs"]) for row in rows),
        "lists": len(rows),
        "epochs": settings.epochs,
        "loss": round(result.training_loss, 4),
        "parameters": sum(p.numel() for p in network.parameters()),
        "layers": network.config.num_hidden_layers,
        "width": network.config.hidden_size,
    }


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
