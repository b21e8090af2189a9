"""What an experiment is asked to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distill.experiments.left_out import Divided, leave_out
from distill.experiments.trials import Trials
from distill.finished_run import FinishedRun
from distill.recipe import TOP_RUNG, Student
from reranker.errors import RerankerError


@dataclass(frozen=True)
class Plan:
    """The runs an experiment is made on, its seeds, which student of the ladder it trains, and from how many pairs (None: all that it may)."""

    runs: list[FinishedRun]
    seeds: Sequence[int]
    rung: str
    pairs: int | None
    trials: Trials
    work: Path

    def student(self, run: FinishedRun) -> Student:
        """Return the settings of the ladder's student that the experiment trains."""
        return student_of(run, self.rung)

    def divided(self, run: FinishedRun) -> Divided:
        """Return the run's labelled pairs, those of some queries left out."""
        return leave_out(run.labelled)


def student_of(run: FinishedRun, rung: str) -> Student:
    """Return the settings of a student of a run's ladder.

    Raises:
        RerankerError: the ladder has none of that name.
    """
    if rung == TOP_RUNG:
        return run.recipe.student
    rungs = {own.name: own for own in run.recipe.ladder}
    if rung not in rungs:
        raise RerankerError(f"The run {run.folder} has no student {rung}.", hint=f"Its ladder: {', '.join([TOP_RUNG, *rungs])}.")
    if not rungs[rung].learns_from_labels:
        raise RerankerError(f"The student {rung} learns from no labels.", hint="Name one that does, which it is made of.")
    return run.recipe.student_of(rungs[rung])
