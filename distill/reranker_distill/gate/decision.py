"""The gate's decision: why a student may not serve, and which student does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from reranker.evaluation.bootstrap import Interval
from reranker.evaluation.embedder import NAME as EMBEDDER
from reranker_distill.recipe import MAIN_STUDENT, Gate

LEAST_FP32_AGREEMENT = 0.99
"""Spearman correlation with the fp32 form on labelled pairs that a student needs where nDCG cannot be measured."""


class VariantMeasurement(NamedTuple):
    """What the gate measured of a student.

    nDCG@10 with its interval (None without judgments), milliseconds for 50 hits whose product vectors are stored, size, and
    ``refused``, why it may not serve. ``p50_new_products_ms`` is a bi-encoder's time where no vector is stored.
    """

    variant: str
    ranking: str
    interval: Interval | None
    p50_ms: float
    p95_ms: float
    samples: int
    megabytes: float
    refused: list[str]
    p50_new_products_ms: float | None = None

    @property
    def ndcg(self) -> float | None:
        return round(self.interval.mean, 4) if self.interval else None

    def as_dict(self) -> dict[str, Any]:
        """Return the student's row of the report's table."""
        return {
            "variant": self.variant,
            "ndcg@10": self.ndcg,
            "interval": [round(self.interval.low, 4), round(self.interval.high, 4)] if self.interval else None,
            "p50_ms": self.p50_ms,
            "p95_ms": self.p95_ms,
            **({"p50_new_products_ms": self.p50_new_products_ms} if self.p50_new_products_ms is not None else {}),
            "samples": self.samples,
            "megabytes": self.megabytes,
            "refused": self.refused,
        }


def quality_refusals(ndcg: Mapping[str, float], student: str, fp32: str, gate: Gate) -> list[str]:
    """Return why a student's quality is not enough; empty where it is.

    Args:
        ndcg: mean nDCG@10 by ranking, ``bm25`` and perhaps the embedder's among them.
        student: the name of the ranking that would serve; ``fp32`` is that of its fp32 form.
    """
    own, reasons = ndcg[student], []
    if own < ndcg[fp32] - gate.max_loss:
        reasons.append(f"nDCG@10 {own:.3f} is more than {gate.max_loss:g} below its fp32 form's {ndcg[fp32]:.3f}")
    if own < ndcg["bm25"] + gate.beat_bm25_by:
        reasons.append(f"nDCG@10 {own:.3f} is not {gate.beat_bm25_by:g} above BM25's {ndcg['bm25']:.3f}")
    if gate.beat_embedder and EMBEDDER in ndcg and own < ndcg[EMBEDDER]:
        reasons.append(f"nDCG@10 {own:.3f} is below the off-the-shelf embedder's {ndcg[EMBEDDER]:.3f}")
    return reasons


def agreement_refusals(with_fp32: float) -> list[str]:
    """Return why a student whose nDCG@10 cannot be measured may not serve, by its rank correlation with its fp32 form; empty where it may."""
    if with_fp32 >= LEAST_FP32_AGREEMENT:
        return []
    return [f"it orders pairs differently from its fp32 form: their rank correlation is {with_fp32:.4f}, below {LEAST_FP32_AGREEMENT:g}"]


def choose(variants: Sequence[VariantMeasurement], budget_ms: float | None) -> tuple[VariantMeasurement | None, list[str]]:
    """Return the student to serve, or None, and why none may.

    Without a budget it is the main one. With one it is the highest nDCG@10 of those within the budget (p50) that are not refused;
    of equals the faster; without judgments the largest.
    """
    if budget_ms is None:
        shipped = next(measured for measured in variants if measured.variant == MAIN_STUDENT)
        return (None, shipped.refused) if shipped.refused else (shipped, [])
    within = [measured for measured in variants if measured.p50_ms <= budget_ms]
    if not within:
        times = ", ".join(f"{measured.variant} {measured.p50_ms:.1f} ms" for measured in variants)
        return None, [f"no student reranks 50 hits within {budget_ms:g} ms (p50, on this machine): {times}"]
    good = [measured for measured in within if not measured.refused]
    if not good:
        return None, [f"{measured.variant}, {measured.p50_ms:.1f} ms: {reason}" for measured in within for reason in measured.refused]
    return max(good, key=lambda measured: (measured.megabytes if measured.ndcg is None else measured.ndcg, -measured.p50_ms)), []
