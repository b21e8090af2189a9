"""What the load generator records of each request."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

OUTCOMES = ("reranked", "bm25 order", "nothing found", "refused", "failed")


class Sent(NamedTuple):
    """Columns (n,). Times are seconds after the start. ``scheduled``: when the request was due; ``sent``: when it was sent; ``done``: when its
    response was read; ``outcome``: index into ``OUTCOMES``."""

    scheduled: np.ndarray
    sent: np.ndarray
    done: np.ndarray
    outcome: np.ndarray


def outcome_of(status: int, body: bytes) -> int:
    """Return the outcome of a search as an index into ``OUTCOMES``. The body is not parsed, to leave CPU time to the service."""
    if status != 200:
        return OUTCOMES.index("refused" if status == 503 else "failed")
    if b'"results":[]' in body:
        return OUTCOMES.index("nothing found")
    return OUTCOMES.index("reranked" if b'"reranked":true' in body else "bm25 order")
