"""Calibration: from the student's scores, whose scale is arbitrary, to relevance between 0 and 1."""

from __future__ import annotations

import numpy as np

from reranker.bundle import Calibration


def calibrate(logits: np.ndarray, relevance: np.ndarray) -> Calibration:
    """Fit sigmoid(scale · logit + bias) to the teacher's relevance by cross-entropy; never reverses the order.

    Args:
        logits: the student's scores, float (n,).
        relevance: the teacher's relevance of the same pairs, 0–1, (n,).
    """
    from sklearn.linear_model import LogisticRegression

    # A soft label is two weighted hard ones: relevant with weight r, irrelevant with 1 − r.
    features = np.concatenate([logits, logits]).reshape(-1, 1)
    labels = np.concatenate([np.ones(len(logits)), np.zeros(len(logits))])
    fit = LogisticRegression(C=1e3).fit(features, labels, sample_weight=np.concatenate([relevance, 1 - relevance]))
    return Calibration(scale=max(round(float(fit.coef_[0, 0]), 5), 1e-3), bias=round(float(fit.intercept_[0]), 5))
