"""The student's start point: a pretrained encoder or cross-encoder, cut to fewer layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sentence_transformers import CrossEncoder
from torch import nn

from reranker.errors import RecipeError
from reranker_distill.recipe import Student as StudentSettings

NO_DROPOUT = dict.fromkeys(
    (
        "hidden_dropout_prob",
        "attention_probs_dropout_prob",
        "dropout",
        "attention_dropout",
        "embedding_dropout",
        "mlp_dropout",
        "classifier_dropout",
        "seq_classif_dropout",
    ),
    0.0,
)
"""Turns dropout off, for every kind of encoder: a teacher's labels hold no outliers to guard against, and dropout noise doubles the loss."""


def load_start_point(checkpoint: str, settings: StudentSettings) -> CrossEncoder:
    """Return the untrained student: a checkpoint with a one-score head, cut to ``settings.layers``.

    A cross-encoder keeps the head it has; an encoder gets a fresh one.

    Raises:
        RecipeError: it cannot be loaded, or has fewer layers.
    """
    try:
        model = CrossEncoder(checkpoint, num_labels=1, max_length=settings.max_length, activation_fn=nn.Identity(), device=device(), config_kwargs=NO_DROPOUT)
    except (OSError, ValueError, RuntimeError) as error:
        raise RecipeError(f"The student's start point {checkpoint} cannot be loaded: {error}", hint="Give a hub name or folder of an encoder.") from error
    if settings.layers is not None:
        keep_layers(model.model, settings.layers, checkpoint)
    return model


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def keep_layers(network: Any, layers: int, checkpoint: str) -> None:
    """Keep that many layers of a network, evenly spaced, the first and the last among them.

    Raises:
        RecipeError: it has fewer, or they are not found.
    """
    for path in ("encoder.layer", "transformer.layer", "layers"):  # BERT and kin, DistilBERT, ModernBERT
        try:
            present = network.base_model.get_submodule(path)
            break
        except AttributeError:
            continue
    else:
        raise RecipeError(f"student.layers: the layers of {checkpoint} ({network.config.model_type}) are not found.", hint="Leave student.layers out.")
    if layers > len(present):
        raise RecipeError(f"student.layers is {layers}; {checkpoint} has {len(present)}.", hint="Ask for fewer layers.")
    kept = np.linspace(0, len(present) - 1, layers).round().astype(int)
    parent, _, name = path.rpartition(".")
    setattr(network.base_model.get_submodule(parent), name, nn.ModuleList([present[i] for i in kept]))
    network.config.num_hidden_layers = layers
