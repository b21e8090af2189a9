"""Does the student's quality rise with the amount of labelled data, and does it surpass its teacher? (arXiv 2505.07105, data expansion)"""

from __future__ import annotations

import random
from collections.abc import Sequence

from benchmarks.experiments.plan import Plan
from benchmarks.experiments.trials import Outcome, Trial, try_student
from benchmarks.finished_run import FinishedRun
from reranker_distill.pairs import LabelledPair, by_query
from reranker_distill.recipe import Student
from reranker_distill.student.lists import PRODUCTS_PER_LIST

QUESTION = "Student quality against the amount of labelled data"
SHARES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
FEWEST_STEPS = 400
MOST_EPOCHS = 12.0


def part_of(labelled: Sequence[LabelledPair], pairs: int, seed: int) -> list[LabelledPair]:
    """Return about ``pairs`` labelled pairs of whole, randomly drawn queries. With one seed, a larger part contains every smaller one."""
    of_query = by_query(labelled)
    queries = list(of_query)
    random.Random(seed).shuffle(queries)
    part: list[LabelledPair] = []
    for query in queries:
        if len(part) >= pairs:
            break
        part += of_query[query]
    return part


def epochs(settings: Student, pairs: int) -> float:
    """Return the epochs for a part of the data. Small parts get more, up to ``FEWEST_STEPS`` batches, so that the curve shows the effect of data."""
    steps = pairs / (PRODUCTS_PER_LIST * settings.lists_per_batch)
    return min(MOST_EPOCHS, max(settings.epochs, FEWEST_STEPS / max(steps, 1)))


def trials(plan: Plan) -> tuple[list[Trial], list[str]]:
    """Train a student for each size, seed and run; return the trials, and the settings from the smallest size up."""
    shares = {f"1/{round(1 / share)}" if share < 1 else "all": share for share in SHARES}
    return plan.try_each(shares, _learn)


def _learn(plan: Plan, run: FinishedRun, share: float, seed: int) -> Outcome:
    learnt, left_out = plan.divided(run)
    part = part_of(learnt, round(share * len(learnt)), seed)
    settings = plan.student(run)
    settings = settings.model_copy(update={"epochs": epochs(settings, len(part))})
    return try_student(run, part, settings, left_out=left_out, seed=seed, work=plan.work)
