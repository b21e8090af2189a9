"""How much a command measures."""

from __future__ import annotations

from typing import NamedTuple

from reranker.errors import InputError
from reranker.first_stage import check_k

MOST_HITS = 100


class Settings(NamedTuple):
    """``queries``: how many are timed · ``rounds``: how often each · ``ks``: hits of a query · ``quality_queries``: judged queries; None means all."""

    queries: int
    rounds: int
    ks: tuple[int, ...]
    quick: bool
    quality_queries: int | None = None


def settings(queries: int | None, rounds: int | None, ks: list[int], *, quick: bool, scale: bool = False) -> Settings:
    """Return the settings of a run. ``quick`` and ``scale`` lower the defaults; values that are given stay as they are.

    Raises:
        InputError: a number is out of range.
    """
    chosen = Settings(
        queries=queries or (3 if quick else 10 if scale else 20),
        rounds=rounds or (2 if quick else 3 if scale else 5),
        ks=tuple(sorted(set(ks) or ({10} if quick else {50, 100}))),
        quick=quick,
        quality_queries=3 if quick else None,
    )
    for k in chosen.ks:
        check_k(k)
    if chosen.ks[-1] > MOST_HITS:
        raise InputError(f"k is {chosen.ks[-1]}.", hint=f"Few demo queries find more than {MOST_HITS} products; `python -m benchmarks scale` goes to 1,000.")
    return chosen
