"""A smaller query encoder for a bi-encoder: at search time only the query is encoded, so its size decides the latency."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.losses import MSELoss

from reranker.errors import RecipeError
from reranker_distill.recipe import Student as StudentSettings
from reranker_distill.student.bi_encoder import SETTINGS
from reranker_distill.student.start_points import device, keep_layers
from reranker_distill.trainer import train, training_arguments

QUERIES_PER_BATCH = 64
_CHECKED = 1_000


def train_query_encoder(queries: Sequence[str], *, bi_encoder: Path, settings: StudentSettings, seed: int, folder: Path) -> dict[str, Any]:
    """Train ``settings.layers`` of a bi-encoder to give its vectors of queries, and save them into ``folder``; resumes from a checkpoint there.

    The word embeddings are frozen: other queries hold words that are not in the training queries.

    Source: Wang and Lyu, "Query encoder distillation via embedding alignment is a strong baseline method to boost dense
    retriever online efficiency", SustaiNLP 2023 (arXiv 2306.11550).

    Args:
        queries: training queries; the last thousand, or a tenth, only measure the report's ``cosine``. With less than one
            epoch, only that share of them is used.

    Raises:
        RecipeError: there are too few queries, or the bi-encoder has fewer layers.
        DivergedError: loss or weights are no longer finite.
    """
    if len(queries) < 20:
        raise RecipeError(f"There are {len(queries)} queries to train a query encoder on.", hint="Give a larger catalogue or a query log.")
    torch.manual_seed(seed)
    if settings.epochs < 1:
        queries = queries[: max(20, round(settings.epochs * len(queries)))]
        settings = settings.model_copy(update={"epochs": 1.0})
    whole = SentenceTransformer(str(bi_encoder), device=device())
    wanted = whole.encode(list(queries), batch_size=QUERIES_PER_BATCH, normalize_embeddings=True, convert_to_numpy=True)
    model = SentenceTransformer(str(bi_encoder), device=device())
    network: Any = model[0]
    assert settings.layers is not None  # checked by the recipe
    keep_layers(network.auto_model, settings.layers, str(bi_encoder))
    for parameter in network.auto_model.embeddings.parameters():
        parameter.requires_grad_(False)
    kept = len(queries) - min(_CHECKED, len(queries) // 10)
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(**training_arguments(settings, seed=seed, folder=folder, batch=QUERIES_PER_BATCH)),
        train_dataset=Dataset.from_dict({"sentence": list(queries[:kept]), "label": wanted[:kept]}),
        loss=MSELoss(model),
    )
    result = train(trainer, "student", "training the query encoder", folder)
    model.save_pretrained(str(folder))
    shutil.copyfile(bi_encoder / SETTINGS, folder / SETTINGS)
    checked = model.encode(list(queries[kept:]), batch_size=QUERIES_PER_BATCH, normalize_embeddings=True, convert_to_numpy=True)
    return {
        "architecture": "query_encoder",
        "queries": kept,
        "epochs": settings.epochs,
        "loss": round(result.training_loss, 6),
        "cosine": round(float(np.mean((checked * wanted[kept:]).sum(axis=1))), 4),
        "parameters": sum(p.numel() for p in network.auto_model.parameters()),
        "layers": network.auto_model.config.num_hidden_layers,
        "width": network.auto_model.config.hidden_size,
    }
