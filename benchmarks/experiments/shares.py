"""What the embedder's share in the labels gives: the teacher alone (0), both, or the embedder alone (1), which needs no judgments at all.

The settings differ in their labels, so that agreement with them tells nothing here: no query is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.experiments.data_size import part_of
from benchmarks.experiments.plan import Plan
from benchmarks.experiments.trials import Outcome, Trial, try_student
from reranker.errors import RerankerError
from reranker_distill.finished_run import LIKELIHOOD, VECTORS, FinishedRun
from reranker_distill.label_fusion import judge_of, judge_together, stored_likelihood
from reranker_distill.pairs import LabelledPair
from reranker_distill.product_vectors import embed_products

QUESTION = "Who labels: the teacher alone, teacher and embedder, the embedder alone (no human judgments)"
SHARES = (0.0, 0.5, 0.9, 1.0)
BASE = "embedder's share 0"


def trials(plan: Plan) -> tuple[list[Trial], list[str]]:
    """Train a student a share, seed and run.

    Raises:
        RerankerError: a run has no embedder, or no teacher.
    """
    for run in plan.runs:
        if not run.recipe.embedder.model:
            raise RerankerError(f"The run {run.folder} has no embedder.", hint='Its recipe says [embedder] model = "".')
        if run.recipe.embedder.alone:
            raise RerankerError(f"The run {run.folder} has no teacher to share the labels with.", hint="Its recipe says [embedder] share = 1.0.")
    return plan.try_each({f"embedder's share {share:g}": share for share in SHARES}, _learn, BASE)


def _learn(plan: Plan, run: FinishedRun, share: float, seed: int) -> Outcome:
    part = part_of(run.labelled, plan.pairs or len(run.labelled), seed)
    return try_student(run, _relabelled(run, part, share), plan.student(run), seed=seed, work=plan.work)


def _relabelled(run: FinishedRun, part: Sequence[LabelledPair], share: float) -> list[LabelledPair]:
    if share == 0:
        return [pair._replace(together=None) for pair in part]
    recipe = run.recipe
    vectors = embed_products(run.products, embedder=recipe.embedder.model, template=recipe.template, folder=run.folder / VECTORS, models=run.models)
    judge = judge_of(recipe, vectors, run.products, stored_likelihood(run.folder / LIKELIHOOD) if recipe.likelihood.judges else None)
    return judge_together(
        [pair._replace(together=None) for pair in part], judge, teacher_share=1 - share, by_agreement=recipe.embedder.teacher_by_agreement
    ).labelled
