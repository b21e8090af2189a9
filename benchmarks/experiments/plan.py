"""What an experiment runs on, and with which settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from benchmarks.experiments.label_agreement import Divided, leave_out
from benchmarks.experiments.trials import Outcome, Trial, Trials
from benchmarks.finished_run import FinishedRun
from reranker.errors import RerankerError
from reranker_distill.recipe import MAIN_STUDENT, Student

Value = TypeVar("Value")


@dataclass(frozen=True)
class Plan:
    """The runs of an experiment, its seeds, which student it trains, and on how many pairs (None: all).

    ``only``: the selected settings (None: all).
    """

    runs: list[FinishedRun]
    seeds: Sequence[int]
    variant: str
    pairs: int | None
    trials: Trials
    work: Path
    only: Sequence[str] | None = None

    def try_each(
        self, settings: Mapping[str, Value], action: Callable[[Plan, FinishedRun, Value, int], Outcome], base: str | None = None
    ) -> tuple[list[Trial], list[str]]:
        """Run ``action`` (plan, run, the setting's value, seed) for each setting, seed and run; return the trials and the settings tried.

        Args:
            base: the setting that the others are compared with; it is always tried.

        Raises:
            RerankerError: a selected setting does not exist.
        """
        made = []
        names = self._selected(list(settings), base)
        for name in names:
            for seed in self.seeds:
                made += [self.trials.make(run, name, seed, partial(action, self, run, settings[name], seed)) for run in self.runs]
        return made, names

    def student(self, run: FinishedRun) -> Student:
        """Return the settings of the student that the experiment trains."""
        return student_of(run, self.variant)

    def divided(self, run: FinishedRun) -> Divided:
        """Return the run's labelled pairs for training and those left out."""
        return leave_out(run.labelled)

    def _selected(self, settings: Sequence[str], base: str | None) -> list[str]:
        if self.only is None:
            return list(settings)
        for name in self.only:
            if name not in settings:
                raise RerankerError(f"The experiment has no setting {name!r}.", hint=f"It has: {', '.join(settings)}.")
        return [name for name in settings if name in self.only or name == base]


def student_of(run: FinishedRun, variant: str) -> Student:
    """Return the settings of a run's main student or of a variant.

    Raises:
        RerankerError: the run has no student of that name.
    """
    if variant == MAIN_STUDENT:
        return run.recipe.student
    variants = {own.name: own for own in run.recipe.variants}
    if variant not in variants:
        raise RerankerError(f"The run {run.folder} has no student {variant}.", hint=f"Its students: {', '.join([MAIN_STUDENT, *variants])}.")
    if variants[variant].query_encoder_of:
        raise RerankerError(f"The student {variant} learns from no labels.", hint="Name a student that it is made of.")
    return run.recipe.student_of(variants[variant])
