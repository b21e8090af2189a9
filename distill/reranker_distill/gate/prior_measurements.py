"""What earlier runs of a recipe measured: the gate judges by it where nothing is held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reranker.evaluation import Comparison


@dataclass(frozen=True)
class PriorMeasurements:
    """nDCG@10 on queries that ``runs`` of the same recipe held out, each by students that saw nothing of its intent."""

    runs: tuple[str, ...]
    measured: Comparison

    def of(self, rankings: Sequence[str]) -> Comparison:
        """Return what was measured of some rankings; those that were not measured are left out."""
        kept = [name for name in self.measured.rankings if name in rankings]
        return Comparison([row._replace(ndcg={name: row.ndcg[name] for name in kept}) for row in self.measured.per_query], self.measured.indistinct)

    def as_dict(self) -> dict[str, Any]:
        return {"runs": list(self.runs), "measured": [row._asdict() for row in self.measured.per_query]}
