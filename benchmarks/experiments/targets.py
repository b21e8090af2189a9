"""Soft or hard targets for the teacher: the raters' votes as a distribution, or the final grade (arXiv 2505.07105)."""

from __future__ import annotations

import shutil

from benchmarks.experiments.plan import Plan
from benchmarks.experiments.trials import Outcome, Trial
from benchmarks.finished_run import FinishedRun
from reranker.errors import RerankerError
from reranker.evaluation import evaluate_rankings
from reranker_distill.checkpoints import resolve_checkpoint

QUESTION = "The teacher's targets: the raters' votes, or the final grade"
SMOOTHINGS = {"soft: votes": 0.0, "half way": 0.5, "hard: final grade": 1.0}
BASE = "hard: final grade"


def trials(plan: Plan) -> tuple[list[Trial], list[str]]:
    """Train a teacher for each kind of target, seed and run, and measure the teacher.

    Raises:
        RerankerError: a run has no teacher that learns from judgments.
    """
    for run in plan.runs:
        if not run.recipe.learns_from_judgments:
            raise RerankerError(f"The run {run.folder} trains no teacher on judgments.", hint="Give a run of a recipe that does, such as demo.")
    return plan.try_each(SMOOTHINGS, _teach, BASE)


def _teach(plan: Plan, run: FinishedRun, smoothing: float, seed: int) -> Outcome:
    from reranker_distill.teacher import load_teacher
    from reranker_distill.teacher.fine_tuned import fine_tune

    shutil.rmtree(plan.work, ignore_errors=True)
    plan.work.mkdir(parents=True)
    settings = run.recipe.teacher.model_copy(update={"smoothing": smoothing})
    checkpoint = resolve_checkpoint(settings.model, run.models)
    report = fine_tune(run.split.train, run.products, checkpoint=checkpoint, settings=settings, template=run.recipe.template, seed=seed, folder=plan.work)
    measured = evaluate_rankings(run.split.held_out, run.products, {"teacher": load_teacher(plan.work).relevance})
    shutil.rmtree(plan.work)
    return Outcome(report["pairs"], {row.query: row.ndcg["teacher"] for row in measured.per_query})
