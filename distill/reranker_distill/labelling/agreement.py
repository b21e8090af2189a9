"""Whether a teacher's labels in 8 bits are still its labels: that depends on the model and on the processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from scipy.stats import spearmanr

from reranker.errors import RecipeError
from reranker.products import Product
from reranker_distill.pairs import Pair
from reranker_distill.recipe import Precision
from reranker_distill.teacher import load_teacher
from reranker_distill.teacher.soft_targets import expected_relevance

LEAST_AGREEMENT = 0.98
_PAIRS = 100


def check_agreement(teacher: Path, precision: Precision, pairs: Sequence[Pair], products: Mapping[str, Product]) -> None:
    """Label some of the pairs in ``precision`` and in float32, and compare their order.

    Raises:
        RecipeError: it is below ``LEAST_AGREEMENT``, or the teacher cannot be turned to the precision.
    """
    some = [(pair.query, products[pair.product_id]) for pair in pairs[:: max(1, len(pairs) // _PAIRS)][:_PAIRS]]
    exact, rough = (expected_relevance(load_teacher(teacher, each).distributions(some)) for each in ("float32", precision))
    agreement = float(spearmanr(exact, rough).statistic)
    if not agreement >= LEAST_AGREEMENT:
        raise RecipeError(
            f'With labelling.precision = "{precision}" the labels are others: on {len(some)} pairs their rank correlation with those in '
            f"float32 is {agreement:.3f}, and at least {LEAST_AGREEMENT} is needed.",
            hint="Leave labelling.precision out of the recipe: the teacher need not be trained again.",
        )
