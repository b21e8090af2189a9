"""The gate's verdicts: why a student may not serve, and which student of the variants does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from reranker.evaluation.bootstrap import Interval
from reranker.evaluation.embedder import NAME as EMBEDDER
from reranker_distill.recipe import MAIN_STUDENT, Gate


class Standing(NamedTuple):
    """What the gate measured of one variant: nDCG@10 with its interval (None without judgments), milliseconds for 50 hits, size, why it may not serve.

    ``p50_unknown_ms``: for a bi-encoder, the same where no vector of the products is known; the others are with all known.
    """

    variant: str
    ranking: str
    interval: Interval | None
    p50_ms: float
    p95_ms: float
    samples: int
    megabytes: float
    refused: list[str]
    p50_unknown_ms: float | None = None

    @property
    def ndcg(self) -> float | None:
        return round(self.interval.mean, 4) if self.interval else None

    def as_dict(self) -> dict[str, Any]:
        """Return the variant's line of the report's table."""
        return {
            "variant": self.variant,
            "ndcg@10": self.ndcg,
            "interval": [round(self.interval.low, 4), round(self.interval.high, 4)] if self.interval else None,
            "p50_ms": self.p50_ms,
            "p95_ms": self.p95_ms,
            **({"p50_unknown_ms": self.p50_unknown_ms} if self.p50_unknown_ms is not None else {}),
            "samples": self.samples,
            "megabytes": self.megabytes,
            "refused": self.refused,
        }


def refusals(ndcg: Mapping[str, float], student: str, fp32: str, gate: Gate) -> list[str]:
    """Return why a student's quality does not do; empty where it does.

    Args:
        ndcg: mean nDCG@10 by ranking, ``bm25`` and perhaps the embedder's among them.
        student: the name of the ranking that would serve, ``fp32`` that of its fp32 form.
    """
    own, why = ndcg[student], []
    if own < ndcg[fp32] - gate.max_loss:
        why.append(f"nDCG@10 {own:.3f} is more than {gate.max_loss:g} below its fp32 form's {ndcg[fp32]:.3f}")
    if own < ndcg["bm25"] + gate.beat_bm25_by:
        why.append(f"nDCG@10 {own:.3f} is not {gate.beat_bm25_by:g} above BM25's {ndcg['bm25']:.3f}")
    if gate.beat_embedder and EMBEDDER in ndcg and own < ndcg[EMBEDDER]:
        why.append(f"nDCG@10 {own:.3f} is below the off-the-shelf embedder's {ndcg[EMBEDDER]:.3f}")
    return why


def disagreement(with_fp32: float, gate: Gate) -> list[str]:
    """Return why a student whose nDCG@10 cannot be measured does not do, by its rank correlation with its fp32 form; empty where it does."""
    if with_fp32 >= gate.least_agreement:
        return []
    return [f"it orders pairs otherwise than its fp32 form: their rank correlation is {with_fp32:.4f}, below {gate.least_agreement:g}"]


def choose(variants: Sequence[Standing], budget_ms: float | None, ship: str = MAIN_STUDENT) -> tuple[Standing | None, list[str]]:
    """Return the student to serve, or None, and why none may.

    Without a budget it is ``ship``. With one, the highest nDCG@10 of those that are within it (p50) and good
    enough; of equals, the faster. Without judgments the largest within it.
    """
    if budget_ms is None:
        top = next(standing for standing in variants if standing.variant == ship)
        return (None, top.refused) if top.refused else (top, [])
    within = [standing for standing in variants if standing.p50_ms <= budget_ms]
    if not within:
        told = ", ".join(f"{standing.variant} {standing.p50_ms:.1f} ms" for standing in variants)
        return None, [f"no student reranks 50 hits within {budget_ms:g} ms (p50, on this machine): {told}"]
    good = [standing for standing in within if not standing.refused]
    if not good:
        return None, [f"{standing.variant}, {standing.p50_ms:.1f} ms: {why}" for standing in within for why in standing.refused]
    return max(good, key=lambda standing: (standing.megabytes if standing.ndcg is None else standing.ndcg, -standing.p50_ms)), []
