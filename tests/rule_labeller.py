"""A labeller without a model: grades by a rule, writes down what it labels, and fails on request. Workers of a cluster can import it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reranker_distill.pairs import Pair

PRODUCTS = {str(i): {"id": str(i), "title": f"product {i}"} for i in range(25)}
PAIRS = [Pair("q", product_id, "log/rank 1") for product_id in PRODUCTS]


class RuleLabeller:
    """The product's id decides; each call is noted as a line of ids in ``notes``, which other processes may write to as well.

    Args:
        fails_on: id of a product that it raises ``error`` at.
    """

    def __init__(self, notes: Path, *, fails_on: str | None = None, error: BaseException | None = None) -> None:
        self.notes, self.fails_on, self.error = notes, fails_on, error

    def distributions(self, pairs: Sequence[tuple[str, Any]], *, on_pairs: Callable[[int], None] | None) -> np.ndarray:
        ids = [product["id"] for _, product in pairs]
        if self.error is not None and self.fails_on in ids:
            raise self.error
        with self.notes.open("a") as notes:
            notes.write(" ".join(ids) + "\n")
        if on_pairs:
            on_pairs(len(pairs))
        grades = np.array([int(i) % 4 for i in ids])
        return (np.eye(4, dtype=np.float32)[grades] + 0.1) / 1.4

    def noted(self) -> list[list[str]]:
        return [line.split() for line in self.notes.read_text().splitlines()] if self.notes.exists() else []
