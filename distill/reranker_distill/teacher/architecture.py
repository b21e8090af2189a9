"""A teacher's architecture without weights, built on torch's meta device, to count its parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from reranker.errors import RecipeError
from reranker_distill.checkpoints import HubError, config_folder
from reranker_distill.recipe import Teacher
from reranker_distill.teacher.published_configs import PUBLISHED

BYTES = {"float32": 4, "bfloat16": 2}
"""Bytes of a weight by type."""
_TRAINED_BYTES = 4 + 4 + 4  # gradient and Adam's two moments
_ACTIVATION_BYTES = 34  # per token, layer and unit of width, without attention scores


class Architecture(NamedTuple):
    """A teacher's shape: ``parameters`` (without LoRA's), ``trained`` ones, width, layers and attention heads."""

    name: str
    config_from: str
    parameters: int
    trained: int
    width: int
    layers: int
    heads: int

    def gigabytes(self, settings: Teacher) -> dict[str, float]:
        """Estimate the memory of training on one GPU, in GB: weights, gradients and optimiser, and activations of a batch.

        Source of the activations: arXiv 2205.05198 (34 + 5·heads·tokens/width bytes a token, layer and unit of width); with gradient
        checkpointing, the inputs of all layers and one layer's own.
        """
        tokens = settings.batch_size * settings.max_length
        layer = tokens * self.width * (_ACTIVATION_BYTES + 5 * self.heads * settings.max_length / self.width)
        activations = layer + 2 * tokens * self.width * self.layers if settings.gradient_checkpointing else layer * self.layers
        parts = {
            "weights": self.parameters * BYTES[settings.load_dtype] + (4 * self.trained if settings.lora_rank else 0),
            "gradients_and_adam": self.trained * _TRAINED_BYTES,
            "activations": activations,
        }
        return {name: round(bytes_ / 1e9, 2) for name, bytes_ in {**parts, "total": sum(parts.values())}.items()}


def architecture(settings: Teacher, cache: Path) -> Architecture:
    """Build a fine-tuned teacher's shape from its configuration, LoRA included.

    Args:
        cache: where an unpacked checkpoint is kept.

    Raises:
        RecipeError: it is no model that can classify. HubError: its configuration is not found here, on the hub, or among the known ones.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    from reranker_distill.teacher.fine_tuned import with_lora

    config, source = _config(settings, cache)
    config.num_labels = settings.grades
    with torch.device("meta"):
        try:
            model: Any = AutoModelForSequenceClassification.from_config(config)
        except ValueError as error:
            raise RecipeError(f"The teacher {settings.model} cannot classify: {error}", hint="Take a decoder LLM or an encoder.") from error
        parameters = sum(p.numel() for p in model.parameters())
        model = with_lora(model, settings)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    text = config.get_text_config()
    name = (config.architectures or [config.model_type])[0]
    return Architecture(name, source, parameters, trained, text.hidden_size, text.num_hidden_layers, text.num_attention_heads)


def _config(settings: Teacher, cache: Path) -> tuple[Any, str]:
    from transformers import AutoConfig

    try:
        folder = config_folder(settings.model, cache)
    except HubError:
        if settings.model not in PUBLISHED:
            raise
        return AutoConfig.for_model(**PUBLISHED[settings.model]), "as published; the hub was not reached"
    try:
        return AutoConfig.from_pretrained(folder), str(folder)
    except (OSError, ValueError, KeyError) as error:
        raise RecipeError(f"The teacher {settings.model} cannot be built: {error}", hint="Is its config.json that of a transformers model?") from error
