"""A training that has diverged is ended and said so: transformers would hide it, and leave a model whose every answer is NaN."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from reranker.errors import RerankerError


class DivergedError(RerankerError):
    """A training's loss, gradient or weights are no longer finite numbers."""


class EndsWhereItDiverges(TrainerCallback):
    """Ends a training that diverges before a checkpoint of it is saved; ``of`` is what learns: teacher or student.

    Raises:
        DivergedError: from the trainer's ``train``.
    """

    def __init__(self, of: str) -> None:
        self._of = of

    def on_init_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Have losses that are not finite logged as they are, and not as the mean of those before."""
        args.logging_nan_inf_filter = False

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        """See that loss and gradient, as they are logged, are finite."""
        if not all(math.isfinite(float(value)) for name, value in (logs or {}).items() if name in ("loss", "grad_norm")):
            raise self._diverged(args, state)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: torch.nn.Module | None = None, **_: Any) -> None:
        """See that weights are finite before they are saved: the log does not have every step."""
        saved = control.should_save or state.global_step >= state.max_steps
        if saved and model is not None and not all(bool(torch.isfinite(weight).all()) for weight in model.parameters()):
            raise self._diverged(args, state)

    def _diverged(self, args: TrainingArguments, state: TrainerState) -> DivergedError:
        return DivergedError(
            f"The {self._of}'s training diverged: by step {state.global_step:,} of {state.max_steps:,} its numbers are no longer finite.",
            hint=f"Lower the recipe's learning_rate of the {self._of}, which is {args.learning_rate:g}, or train with bf16 = false; earlier stages are kept.",
        )
