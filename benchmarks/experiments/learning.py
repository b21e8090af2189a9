"""How fast and how long the student learns: chosen by agreement on left-out queries, which costs no judged query."""

from __future__ import annotations

from benchmarks.experiments.data_size import part_of
from benchmarks.experiments.plan import Plan
from benchmarks.experiments.trials import Outcome, Trial, try_student
from reranker_distill.finished_run import FinishedRun

QUESTION = "How fast and how long the student learns"
BASE = "as the recipe says"
TRIED = {
    BASE: (1.0, 1.0),
    "half the rate": (0.5, 1.0),
    "twice the rate": (2.0, 1.0),
    "twice as long": (1.0, 2.0),
    "half the rate, three times as long": (0.5, 3.0),
}
"""What the recipe's learning rate and its epochs are multiplied by."""


def trials(plan: Plan) -> tuple[list[Trial], list[str]]:
    """Train a student a setting, seed and run."""
    return plan.try_each(TRIED, _learn, BASE)


def _learn(plan: Plan, run: FinishedRun, factors: tuple[float, float], seed: int) -> Outcome:
    rate, epochs = factors
    settings = plan.student(run)
    settings = settings.model_copy(update={"learning_rate": rate * settings.learning_rate, "epochs": epochs * settings.epochs})
    learnt, left_out = plan.divided(run)
    return try_student(run, part_of(learnt, plan.pairs or len(learnt), seed), settings, left_out=left_out, seed=seed, work=plan.work)
