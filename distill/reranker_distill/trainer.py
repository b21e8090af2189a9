"""What all trainings by transformers' trainers share: arguments, a progress bar, and a stop where a training diverges."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from reranker.errors import RerankerError
from reranker.progress import progress
from reranker_distill.checkpoints import CHECKPOINTS, last_checkpoint
from reranker_distill.precision import has_bfloat16
from reranker_distill.recipe import Student as StudentSettings


class DivergedError(RerankerError):
    """A training's loss, gradient or weights are no longer finite."""


class StopOnDivergence(TrainerCallback):
    """Stops a training that diverges before it saves a checkpoint: transformers would save a model whose every answer is NaN.

    ``role`` is teacher or student.

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


def training_arguments(settings: StudentSettings, *, seed: int, folder: Path, batch: int) -> dict[str, Any]:
    """Return arguments of ``TrainingArguments``; checkpoints go into ``folder``, ``batch`` is the size of a step."""
    return {
        "output_dir": str(folder / CHECKPOINTS),
        "num_train_epochs": settings.epochs,
        "learning_rate": settings.learning_rate,
        "per_device_train_batch_size": batch,
        "warmup_ratio": 0.06,
        "lr_scheduler_type": "linear",
        "bf16": has_bfloat16(),
        "use_cpu": not torch.accelerator.is_available(),
        "seed": seed,
        "save_steps": 100,
        "save_total_limit": 1,
        "logging_steps": 25,
        "report_to": "none",
        "dataloader_pin_memory": False,
    }


def train(trainer: Trainer, role: str, what: str, folder: Path) -> Any:
    """Train with a progress bar on stderr, from the checkpoint in a stage's ``folder`` if there is one; return transformers' ``TrainOutput``.

    ``role`` is teacher or student, ``what`` the text beside the bar.

    transformers' own bar writes a line per step into logs, and prints numbers to stdout, where scripts read the report.

    Raises:
        DivergedError: loss, gradient or weights are no longer finite.
    """
    for default in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(default)
    with ExitStack() as stack:
        trainer.add_callback(StopOnDivergence(role))
        trainer.add_callback(_ProgressBar(what, stack))
        return trainer.train(resume_from_checkpoint=last_checkpoint(folder))


class _ProgressBar(TrainerCallback):
    def __init__(self, what: str, stack: ExitStack) -> None:
        self._what, self._stack = what, stack
        self._advance: Callable[[int], None] = lambda _: None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.is_world_process_zero:
            self._advance = self._stack.enter_context(progress(self._what, state.max_steps, Console(stderr=True)))
            if state.global_step:
                self._advance(state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._advance(1)
