"""LambdaLoss: orders of two products, weighted by what swapping them does to nDCG@10."""

from __future__ import annotations

from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder.losses import LambdaLoss, NDCGLoss2PPScheme


class LambdaRankLoss(LambdaLoss):
    """sentence-transformers' LambdaLoss with nDCG-Loss2++ weights at 10. Labels are expected grades.

    Source: Wang et al., "The LambdaLoss framework for ranking metric optimization", CIKM 2018.
    """

    def __init__(self, model: CrossEncoder) -> None:
        super().__init__(model, weighting_scheme=NDCGLoss2PPScheme(), k=10, mini_batch_size=-1)
