"""How far a training is, for those who wait for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from rich.console import Console
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from reranker.progress import progress


def train(trainer: Trainer, what: str, resume: str | None) -> Any:
    """Train, from the state in ``resume`` where there is one, and tell on stderr how far it is; return transformers' ``TrainOutput``.

    transformers' own bar fills a log with a line's worth a step, and prints its numbers to stdout, where scripts read a report.
    """
    for own in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(own)
    with ExitStack() as shown:
        trainer.add_callback(_Told(what, shown))
        return trainer.train(resume_from_checkpoint=resume)


class _Told(TrainerCallback):
    def __init__(self, what: str, shown: ExitStack) -> None:
        self._what, self._shown = what, shown
        self._advance: Callable[[int], None] = lambda _: None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.is_world_process_zero:
            self._advance = self._shown.enter_context(progress(self._what, state.max_steps, Console(stderr=True)))
            if state.global_step:
                self._advance(state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._advance(1)
