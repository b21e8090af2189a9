"""Margins against each product by itself, and against orders: every loss on the same lists (arXiv 2505.07105 learns margins)."""

from __future__ import annotations

from typing import get_args

from benchmarks.experiments.data_size import part_of
from benchmarks.experiments.plan import Plan
from benchmarks.experiments.trials import Outcome, Trial, try_student
from reranker_distill.finished_run import FinishedRun
from reranker_distill.recipe import LOSSES_OF_ORDER, LossName

QUESTION = "What the student learns from: margins, pointwise labels, orders"
BASE = "margin_mse"
"""The paper's loss, which the others are compared with."""


def trials(plan: Plan) -> tuple[list[Trial], list[str]]:
    """Train a student a loss, seed and run; bi-encoders by those losses that they learn by."""
    kinds = {plan.student(run).architecture for run in plan.runs}
    names = [name for name in get_args(LossName) if kinds == {"cross_encoder"} or name not in LOSSES_OF_ORDER]
    return plan.try_each({name: name for name in names}, _learn, BASE)


def _learn(plan: Plan, run: FinishedRun, loss: LossName, seed: int) -> Outcome:
    settings = plan.student(run).model_copy(update={"loss": loss, "margin_of": "relevance"})
    learnt, left_out = plan.divided(run)
    return try_student(run, part_of(learnt, plan.pairs or len(learnt), seed), settings, left_out=left_out, seed=seed, work=plan.work)
