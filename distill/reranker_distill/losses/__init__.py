"""What the student learns from a list of one query's products: a loss a file, all over the same lists.

Every loss takes what sentence-transformers' listwise losses take: (queries, lists of product texts), and a list of labels
for each query. So a comparison of losses is fair: same batches, same number of product texts an epoch.
"""

from __future__ import annotations

from typing import Any

from sentence_transformers import CrossEncoder
from torch import nn

from reranker_distill.recipe import LossName

MARGIN_SCALE = 4.0
"""Relevance is learnt at this scale: margins of up to 4 keep the loss and its gradients of order one."""


def make_loss(name: LossName, model: CrossEncoder | None) -> Any:
    """Return the loss of a recipe's ``student.loss``; without a model for scores that come from elsewhere (``LossOverLists.of_lists``)."""
    from reranker_distill.losses.blend import BlendLoss
    from reranker_distill.losses.lambda_loss import LambdaRankLoss
    from reranker_distill.losses.list_margin_mse import ListMarginMSELoss
    from reranker_distill.losses.pair_margin_mse import PairMarginMSELoss
    from reranker_distill.losses.pointwise import PointwiseBCELoss, PointwiseMSELoss
    from reranker_distill.losses.rank_net import PairOrderLoss

    losses: dict[str, type[nn.Module]] = {
        "list_margin_mse": ListMarginMSELoss,
        "margin_mse": PairMarginMSELoss,
        "bce": PointwiseBCELoss,
        "mse": PointwiseMSELoss,
        "ranknet": PairOrderLoss,
        "lambda": LambdaRankLoss,
        "blend": BlendLoss,
    }
    return losses[name](model)
