"""Losses over lists of one query's products.

Every loss takes what sentence-transformers' listwise losses take: (queries, lists of product texts), and a list of labels
for each query. A comparison of losses is fair: same batches, same number of product texts an epoch.
"""

from __future__ import annotations

from typing import Any

from sentence_transformers import CrossEncoder
from torch import nn

from reranker_distill.recipe import LossName

MARGIN_SCALE = 4.0
"""Relevance is learnt at this scale: margins of up to 4 keep the loss and its gradients of order one."""


def make_loss(name: LossName, model: CrossEncoder | None) -> Any:
    """Return the loss of a recipe's ``student.loss``; without a model, for scores computed elsewhere (``LossOverLists.of_lists``)."""
    from reranker_distill.losses.list_margin_mse import ListMarginMSELoss
    from reranker_distill.losses.pair_margin_mse import PairMarginMSELoss
    from reranker_distill.losses.pointwise import PointwiseBCELoss, PointwiseMSELoss

    losses: dict[str, type[nn.Module]] = {
        "list_margin_mse": ListMarginMSELoss,
        "margin_mse": PairMarginMSELoss,
        "bce": PointwiseBCELoss,
        "mse": PointwiseMSELoss,
    }
    return losses[name](model)
