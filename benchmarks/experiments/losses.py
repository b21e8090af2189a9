"""Margins compared with pointwise losses, on the same lists of products (arXiv 2505.07105 trains on margins)."""

from __future__ import annotations

from benchmarks.experiments.data_size import part_of
from benchmarks.experiments.plan import Plan
from benchmarks.experiments.trials import Outcome, Trial, try_student
from benchmarks.finished_run import FinishedRun
from reranker_distill.recipe import LossName

QUESTION = "What the student learns from: margins or pointwise labels"
BASE = "margin_mse"
"""The paper's loss. The others are compared with it."""
LOSSES: tuple[LossName, ...] = ("list_margin_mse", "margin_mse", "bce", "mse")


def trials(plan: Plan) -> tuple[list[Trial], list[str]]:
    """Train a student for each loss, seed and run."""
    return plan.try_each({name: name for name in LOSSES}, _learn, BASE)


def _learn(plan: Plan, run: FinishedRun, loss: LossName, seed: int) -> Outcome:
    settings = plan.student(run).model_copy(update={"loss": loss})
    learnt, left_out = plan.divided(run)
    return try_student(run, part_of(learnt, plan.pairs or len(learnt), seed), settings, left_out=left_out, seed=seed, work=plan.work)
