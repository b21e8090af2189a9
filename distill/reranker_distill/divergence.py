"""Stops a training that diverges: transformers would hide it, and save a model whose every answer is NaN."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from reranker.errors import RerankerError


class DivergedError(RerankerError):
    """A training's loss, gradient or weights are no longer finite."""


class StopOnDivergence(TrainerCallback):
    """Stops a training that diverges before it saves a checkpoint; ``role`` is teacher or student.

    Raises:
        DivergedError: from the trainer's ``train``.
    """

    def __init__(self, role: str) -> None:
        self._role = role

    def on_init_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Log losses that are not finite as they are, not as the mean of those before."""
        args.logging_nan_inf_filter = False

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        """Check that the logged loss and gradient are finite."""
        if not all(math.isfinite(float(value)) for name, value in (logs or {}).items() if name in ("loss", "grad_norm")):
            raise self._diverged(args, state)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: torch.nn.Module | None = None, **_: Any) -> None:
        """Check that weights are finite before they are saved: not every step is logged."""
        saved = control.should_save or state.global_step >= state.max_steps
        if saved and model is not None and not all(bool(torch.isfinite(weight).all()) for weight in model.parameters()):
            raise self._diverged(args, state)

    def _diverged(self, args: TrainingArguments, state: TrainerState) -> DivergedError:
        return DivergedError(
            f"The {self._role}'s training diverged: at step {state.global_step:,} of {state.max_steps:,} its numbers are no longer finite.",
            hint=f"Lower {self._role}.learning_rate, which is {args.learning_rate:g}; earlier stages are kept.",
        )
