"""Splitting judgments by intent, so that a metric never sees a rewording of what was trained on."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from reranker.analysis import tokens
from reranker.judgments import Judgment


class Split(NamedTuple):
    """Judgments for training, and those of the held-out intents."""

    train: list[Judgment]
    held_out: list[Judgment]


def deal_intents(judgments: Sequence[Judgment], folds: int, seed: int) -> list[list[str]]:
    """Deal intents into folds, balancing the number of queries that tell rankings apart; an intent stays whole."""
    ratings: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for judgment in judgments:
        ratings[judgment.intent][judgment.query].add(judgment.rating)
    weight = {intent: sum(0 in r and max(r) >= 2 for r in queries.values()) + 0.1 * len(queries) for intent, queries in ratings.items()}
    intents = sorted(ratings)
    random.Random(seed).shuffle(intents)
    dealt: list[list[str]] = [[] for _ in range(folds)]
    loads = [0.0] * folds
    for intent in sorted(intents, key=lambda i: -weight[i]):  # stable: the shuffle breaks ties
        lightest = loads.index(min(loads))
        dealt[lightest].append(intent)
        loads[lightest] += weight[intent]
    return dealt


def split_by_intent(judgments: Sequence[Judgment], *, folds: int, held_out_fold: int, seed: int) -> Split:
    """Hold out one fold of intents."""
    held_out = set(deal_intents(judgments, folds, seed)[held_out_fold])
    return Split([j for j in judgments if j.intent not in held_out], [j for j in judgments if j.intent in held_out])


class HeldOutGuard:
    """Tells queries that reword a held-out query, or narrow it down: all of its index terms are there, or the same letters.

    "cheapest laptop with i9" is refused where "laptop" is held out, "headset" where "head set" is.
    """

    def __init__(self, held_out: Sequence[Judgment]) -> None:
        texts = {j.query for j in held_out} | {j.intent for j in held_out}
        self._terms = [frozenset(tokens(text)) for text in texts]
        self._joined = {_joined(text) for text in texts}

    def refuses(self, query: str) -> bool:
        words = frozenset(tokens(query))
        return _joined(query) in self._joined or any(held <= words for held in self._terms if held)


def _joined(text: str) -> str:
    return "".join(c for c in text.lower() if c.isalnum())
