"""What every contender of the benchmark is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from reranker.products import Product


class Unavailable(Exception):
    """A contender cannot take part. The message says why, and how to get it."""


class Contender(ABC):
    """Something that scores products for a query.

    Attributes:
        name: its key in the results.
        label: what pictures and tables call it.
        no_quality: why its quality is not measured; None where it is.
        note: what a reader must know of how it ran; empty where there is nothing.
        elsewhere_s: seconds of the last ``score`` that only carried it to another process and back; they are not counted.
        cpu_elsewhere_s: CPU-seconds of the last ``score`` that another process took; they are counted.
    """

    name: str
    label: str
    no_quality: str | None = None
    note: str = ""
    elsewhere_s: float = 0.0
    cpu_elsewhere_s: float = 0.0

    def prepare(self, products: Sequence[Product]) -> None:  # noqa: B027  # most have nothing to do ahead
        """Do, untimed, what a user of it would do ahead of any query, for all products of the benchmark."""

    def before_query(self) -> None:  # noqa: B027
        """Do, untimed, what each timed query needs beforehand."""

    @abstractmethod
    def score(self, query: str, products: Sequence[Product]) -> np.ndarray:
        """Return a score a product, float (n,), higher is better, input order: all the work from a query and products on."""

    def quality(self, query: str, products: Sequence[Product]) -> np.ndarray:
        """Return the scores that its quality is measured by; those of ``score`` unless it differs."""
        return self.score(query, products)

    def close(self) -> None:  # noqa: B027
        """Release what it holds."""
