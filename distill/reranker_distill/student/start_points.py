"""The student's start point: a pretrained encoder or cross-encoder, cut in depth, in width, or in both."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sentence_transformers import CrossEncoder
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

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
"""What turns dropout off, for every kind of encoder: labels that a teacher computed hold no accidents to be guarded against, and its noise doubles the loss."""


def load_start_point(checkpoint: str, settings: StudentSettings) -> CrossEncoder:
    """Return the untrained student: a checkpoint with a one-score head, cut to ``settings.layers`` and ``settings.width``.

    A cross-encoder keeps the head it has; an encoder gets a fresh one.

    Raises:
        RecipeError: it cannot be loaded, or cut as asked.
    """
    try:
        model = CrossEncoder(checkpoint, num_labels=1, max_length=settings.max_length, activation_fn=nn.Identity(), device=device(), config_kwargs=NO_DROPOUT)
    except (OSError, ValueError, RuntimeError) as error:
        raise RecipeError(f"The student's start point {checkpoint} cannot be loaded: {error}", hint="Give a hub name or folder of an encoder.") from error
    if settings.layers is not None:
        cut_depth(model.model, settings.layers, checkpoint)
    if settings.width is not None:
        _cut_width(model, settings.width, checkpoint)
    return model


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def cut_depth(network: Any, layers: int, checkpoint: str) -> None:
    """Keep that many layers of a network, evenly spaced, the first and the last among them.

    Raises:
        RecipeError: it has fewer, or they cannot be told.
    """
    for path in ("encoder.layer", "transformer.layer", "layers"):  # BERT and kin, DistilBERT, ModernBERT
        try:
            present = network.base_model.get_submodule(path)
            break
        except AttributeError:
            continue
    else:
        raise RecipeError(f"student.layers: the layers of {checkpoint} ({network.config.model_type}) cannot be told.", hint="Leave student.layers out.")
    if layers > len(present):
        raise RecipeError(f"student.layers is {layers}; {checkpoint} has {len(present)}.", hint="Ask for fewer layers.")
    kept = np.linspace(0, len(present) - 1, layers).round().astype(int)
    parent, _, name = path.rpartition(".")
    setattr(network.base_model.get_submodule(parent), name, nn.ModuleList([present[i] for i in kept]))
    network.config.num_hidden_layers = layers


def _cut_width(model: CrossEncoder, width: int, checkpoint: str) -> None:
    """Replace a BERT by one of hidden size ``width`` whose weights are the old ones, projected.

    The hidden space is projected onto the first principal components of the word embeddings, (old width, width); heads
    and inner units are kept evenly spaced; head size and the ratio of inner to hidden width stay.
    """
    old: Any = model.model
    config = old.config
    if not isinstance(old, BertForSequenceClassification):
        raise RecipeError(f"student.width works for BERT start points; {checkpoint} is {config.model_type}.", hint="Leave student.width out.")
    head = config.hidden_size // config.num_attention_heads
    if width % head or not 0 < width < config.hidden_size:
        raise RecipeError(
            f"student.width is {width}; {checkpoint} is {config.hidden_size} wide, with heads of {head}.",
            hint=f"Give a multiple of {head} below {config.hidden_size}.",
        )
    inner = config.intermediate_size * width // config.hidden_size
    narrow = BertConfig(**{**config.to_dict(), "hidden_size": width, "num_attention_heads": width // head, "intermediate_size": inner})
    new: Any = BertForSequenceClassification(narrow)
    down = _principal_components(old.bert.embeddings.word_embeddings.weight.detach().float().cpu(), width)
    heads = _spread(config.num_attention_heads, width // head)
    kept = {"h": torch.cat([torch.arange(head) + head * int(i) for i in heads]), "i": torch.as_tensor(_spread(config.intermediate_size, inner))}
    weights = {name: value.detach().float().cpu() for name, value in old.state_dict().items()}
    new.load_state_dict({name: _narrowed(name, value, down, kept) for name, value in weights.items() if not name.startswith("classifier")}, strict=False)
    transformer: Any = model[0]
    transformer.model = new.to(device())


def _spread(present: int, wanted: int) -> np.ndarray:
    return np.linspace(0, present - 1, wanted).round().astype(int)


def _principal_components(embeddings: torch.Tensor, width: int) -> torch.Tensor:
    """Return the directions of largest variance as columns: (old width, width)."""
    centred = embeddings - embeddings.mean(dim=0)
    return torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)[:, :width].contiguous()


def _narrowed(name: str, value: torch.Tensor, down: torch.Tensor, kept: dict[str, torch.Tensor]) -> torch.Tensor:
    """Project one weight of a BERT by what its rows and columns stand for: hidden space, heads or inner units."""
    if name.endswith("LayerNorm.weight"):  # a scale for each hidden unit cannot be projected; its mean, for the same length of vectors
        return value.abs().mean().expand(down.shape[1]) * (down.shape[0] / down.shape[1]) ** 0.5
    if "embeddings." in name and value.ndim == 2:
        return value @ down
    if ".self." in name:  # query, key, value: hidden space to heads
        return value[kept["h"]] @ down if value.ndim == 2 else value[kept["h"]]
    if "intermediate.dense" in name:
        return value[kept["i"]] @ down if value.ndim == 2 else value[kept["i"]]
    if value.ndim == 1:
        return down.T @ value
    if "attention.output.dense" in name:
        return down.T @ value[:, kept["h"]]
    if "output.dense" in name:
        return down.T @ value[:, kept["i"]]
    if "pooler" in name:
        return down.T @ value @ down
    return value
