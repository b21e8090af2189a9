"""Training the student, and asking a trained one for scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments

from reranker.errors import RecipeError
from reranker.folders import whole_file
from reranker.products import Product
from reranker.text import ProductTemplate
from reranker_distill.calibration import calibrate
from reranker_distill.checkpoints import last_checkpoint
from reranker_distill.divergence import EndsWhereItDiverges
from reranker_distill.losses import make_loss
from reranker_distill.pairs import LabelledPair
from reranker_distill.recipe import Student as StudentSettings
from reranker_distill.student.arguments import training_arguments
from reranker_distill.student.bi_encoder import train_bi_encoder
from reranker_distill.student.lists import product_lists
from reranker_distill.student.scoring import load_scores
from reranker_distill.student.start_points import load_start_point
from reranker_distill.training_progress import train

SCORES_PER_SHARD = 2_000


def train_student(
    labelled: Sequence[LabelledPair],
    products: Mapping[str, Product],
    *,
    checkpoint: str,
    settings: StudentSettings,
    template: ProductTemplate,
    seed: int,
    folder: Path,
    relevance: Sequence[float] | np.ndarray | None = None,
) -> dict[str, Any]:
    """Train the student and save it into ``folder``; goes on from a checkpoint left there. Returns what the report says of it.

    Args:
        relevance: what it learns instead of the teacher's relevance, by pair (see ``mixed_relevance``).

    Raises:
        RecipeError: no query has two products, or the start point cannot be loaded.
        DivergedError: the training does not keep to finite numbers.
    """
    torch.manual_seed(seed)
    rows = product_lists(labelled, products, template, settings, seed, relevance=relevance)
    if not rows:
        raise RecipeError("No query has two labelled products, so there are no margins to learn.", hint="Raise the recipe's [augmentation] numbers.")
    arguments = training_arguments(settings, seed=seed, folder=folder, batch=settings.lists_per_batch)
    resume = last_checkpoint(folder)
    if settings.architecture == "bi_encoder":
        made = train_bi_encoder(rows, checkpoint=checkpoint, settings=settings, arguments=arguments, folder=folder, resume=resume)
    else:
        made = _train_cross_encoder(rows, checkpoint=checkpoint, settings=settings, arguments=arguments, folder=folder, resume=resume)
    return {
        "architecture": settings.architecture,
        "pairs": sum(len(row["docs"]) for row in rows),
        "lists": len(rows),
        "epochs": settings.epochs,
        "learnt_by": settings.loss,
        **made,
    }


def _train_cross_encoder(
    rows: list[dict[str, Any]], *, checkpoint: str, settings: StudentSettings, arguments: Mapping[str, Any], folder: Path, resume: str | None
) -> dict[str, Any]:
    model = load_start_point(checkpoint, settings)
    trainer = CrossEncoderTrainer(
        model=model,
        args=CrossEncoderTrainingArguments(**arguments),
        train_dataset=Dataset.from_list(rows),
        loss=make_loss(settings.loss, model),
        callbacks=[EndsWhereItDiverges("student")],
    )
    result = train(trainer, "training the student", resume)
    model.save_pretrained(str(folder))
    network: Any = model.model
    return {
        "loss": round(result.training_loss, 4),
        "parameters": sum(p.numel() for p in network.parameters()),
        "layers": network.config.num_hidden_layers,
        "width": network.config.hidden_size,
    }


def score_pairs(
    student: Path,
    labelled: Sequence[LabelledPair],
    products: Mapping[str, Product],
    *,
    template: ProductTemplate,
    folder: Path,
    on_pairs: Callable[[int], None] = lambda _: None,
) -> None:
    """Write a trained student's scores of the pairs to shards in ``folder``; a shard already there is kept."""
    scores: Callable[[Sequence[tuple[str, str]]], np.ndarray] | None = None
    for number, start in enumerate(range(0, len(labelled), SCORES_PER_SHARD)):
        path, shard = folder / f"scores-{number:05d}.npy", labelled[start : start + SCORES_PER_SHARD]
        if not path.is_file():
            scores = scores or load_scores(student)
            with whole_file(path) as staging:
                np.save(staging, scores([(pair.query, template.render(products[pair.product_id])) for pair in shard]))
        on_pairs(len(shard))


def read_scores(folder: Path) -> np.ndarray:
    """Return the scores that ``score_pairs`` wrote, float32 (n,), in the pairs' order."""
    return np.concatenate([np.load(path) for path in sorted(folder.glob("scores-*.npy"))])


def mixed_relevance(labelled: Sequence[LabelledPair], larger: np.ndarray, share: float) -> np.ndarray:
    """Return what a smaller student learns: (1 − share) · the teacher's relevance + share · the larger student's, (n,).

    Args:
        larger: the larger student's scores of the pairs; calibrated to the teacher's relevance first.
        share: 0 to 1. The larger student's margins are of a form that a small network can follow (a teacher assistant,
            arXiv 1902.03393).
    """
    teacher = np.array([pair.relevance for pair in labelled])
    fit = calibrate(larger, teacher)
    mixed: np.ndarray = (1 - share) * teacher + share / (1 + np.exp(-(fit.scale * larger + fit.bias)))
    return mixed
