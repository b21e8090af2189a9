"""A progress bar for trainings, on stderr."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from rich.console import Console
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from reranker.progress import progress


def train(trainer: Trainer, what: str, resume: str | None) -> Any:
    """Train, from the state in ``resume`` where there is one, with a progress bar on stderr; return transformers' ``TrainOutput``.

    transformers' own bar writes a line per step into logs, and prints numbers to stdout, where scripts read the report.
    """
    for default in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(default)
    with ExitStack() as stack:
        trainer.add_callback(_ProgressBar(what, stack))
        return trainer.train(resume_from_checkpoint=resume)


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
