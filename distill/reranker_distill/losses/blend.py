"""Margins first, with a little pointwise cross-entropy that fixes the scores' level."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from reranker_distill.losses import MARGIN_SCALE
from reranker_distill.losses.list_margin_mse import list_margin_mse
from reranker_distill.losses.over_lists import LossOverLists

POINTWISE_WEIGHT = 0.1


class BlendLoss(LossOverLists):
    """list_margin_mse + ``POINTWISE_WEIGHT`` · binary cross-entropy; labels are relevance · ``MARGIN_SCALE``."""

    def of_list(self, scores: Tensor, labels: Tensor) -> Tensor:
        level = functional.binary_cross_entropy_with_logits(scores, labels / MARGIN_SCALE)
        return list_margin_mse(scores, labels) + POINTWISE_WEIGHT * level
