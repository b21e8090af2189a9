"""RankNet: the student learns which of two products comes first, not by how much."""

from __future__ import annotations

from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder.losses import RankNetLoss


class PairOrderLoss(RankNetLoss):
    """sentence-transformers' RankNetLoss, all products of a batch in one forward pass. Labels are expected grades.

    Source: Burges et al., "Learning to rank using gradient descent", ICML 2005.
    """

    def __init__(self, model: CrossEncoder) -> None:
        super().__init__(model, mini_batch_size=-1)
