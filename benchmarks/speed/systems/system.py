"""The base class of every system that the speed benchmark compares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from reranker.products import Product


class Unavailable(Exception):
    """A system cannot be measured here. The message says why, and how to install it."""


class System(ABC):
    """Something that scores products for a query.

    Attributes:
        name: key in the result file.
        label: name in pictures and tables.
        no_quality: why quality is not measured; None where it is.
        note: remarks on how it ran; may be empty.
        transport_s: seconds of the last ``score`` spent on transport to another process and back; not counted.
        child_cpu_s: CPU seconds of the last ``score`` in another process; counted.
    """

    name: str
    label: str
    no_quality: str | None = None
    note: str = ""
    transport_s: float = 0.0
    child_cpu_s: float = 0.0

    def prepare(self, products: Sequence[Product]) -> None:  # noqa: B027  # optional
        """Prepare all products of the benchmark, as a user would ahead of any query. Not timed."""

    def before_query(self) -> None:  # noqa: B027
        """Run before each timed query. Not timed."""

    @abstractmethod
    def score(self, query: str, products: Sequence[Product]) -> np.ndarray:
        """Return a score for each product, float (n,), input order, higher is better. Includes rendering and tokenising."""

    def quality(self, query: str, products: Sequence[Product]) -> np.ndarray:
        """Return the scores that quality is measured with; by default those of ``score``."""
        return self.score(query, products)

    def close(self) -> None:  # noqa: B027
        """Release resources."""
