"""Splitting judgments by intent, so that a metric never sees a rewording of what was trained on."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from reranker.analysis import STOP_WORDS, tokens
from reranker.judgments import Judgment


class Split(NamedTuple):
    """Judgments for training, and those of the held-out intents."""

    train: list[Judgment]
    held_out: list[Judgment]


def deal_intents(judgments: Sequence[Judgment], folds: int, seed: int) -> list[list[str]]:
    """Deal intents into folds, balancing the number of queries that tell rankings apart; an intent stays whole.

    Intents, given here in lower case, that differ in capitals alone are one: shoppers type "Laptop" and "laptop".
    """
    ratings: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for judgment in judgments:
        ratings[judgment.intent.casefold()][judgment.query].add(judgment.rating)
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


def split_by_intent(judgments: Sequence[Judgment], *, folds: int, held_out_fold: int | None, seed: int) -> Split:
    """Hold out one fold of intents, or none."""
    if held_out_fold is None:
        return Split(list(judgments), [])
    held_out = set(deal_intents(judgments, folds, seed)[held_out_fold])
    return Split([j for j in judgments if j.intent.casefold() not in held_out], [j for j in judgments if j.intent.casefold() in held_out])


class HeldOutGuard:
    """Tells queries that reword a held-out query, narrow it down, or misspell it.

    Refused are queries that hold all index terms of a held-out query or its letters in one piece: "cheapest laptop with i9"
    where "laptop" is held out, "headset" where "head set" is. Each of its words counts as held also in the plural, joined
    to its neighbour ("harddrive"), glued to another word ("cheaplaptop"), or with typing errors: one (two letters swapped
    count as one) in words of ``MIN_LETTERS`` or more, two in those of ``LONG`` or more.
    """

    MIN_LETTERS = 5
    LONG = 8

    def __init__(self, queries: Iterable[str]) -> None:
        texts = set(queries)
        self._terms = {terms for text in texts if (terms := frozenset(tokens(text)))}
        self._joined = {_joined(text) for text in texts} - {""}
        # "external hard drive" is there where each of its words is, or "external" and "harddrive", and so on
        self._words = {way for text in texts for way in _ways(_words(text)) if way}
        self._near: dict[tuple[str, str], bool] = {}

    @classmethod
    def of(cls, held_out: Sequence[Judgment]) -> HeldOutGuard:
        """Guard the judged queries and what their intents are called."""
        return cls({j.query for j in held_out} | {j.intent for j in held_out})

    def refuses(self, query: str) -> bool:
        terms = frozenset(tokens(query))
        if _joined(query) in self._joined or any(held <= terms for held in self._terms):
            return True
        words = _words(query)
        held_by = {"".join(words[i : i + n]) for n in (1, 2, 3) for i in range(len(words) - n + 1)}
        return any(all(any(self._is(word, piece) for piece in held_by) for word in way) for way in self._words)

    def _is(self, held: str, piece: str) -> bool:
        if held == piece:
            return True
        if len(held) < self.MIN_LETTERS or len(piece) < self.MIN_LETTERS:
            return False
        known = self._near.get((held, piece))
        if known is None:
            glued = len(held) > self.MIN_LETTERS and (piece.startswith(held) or piece.endswith(held))
            known = self._near[held, piece] = glued or within_errors(held, piece, 2 if len(held) >= self.LONG else 1)
        return known


def within_errors(one: str, other: str, most: int) -> bool:
    """Say whether ``most`` typing errors (a letter more, less, other, or two swapped) lead from one word to the other."""
    if abs(len(one) - len(other)) > most:
        return False
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, start=1):
        further = [i]
        for j, b in enumerate(other, start=1):
            cost = min(row[j] + 1, further[j - 1] + 1, row[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, before[j - 2] + 1)
            further.append(cost)
        if min(further) > most:
            return False
        before, row = row, further
    return row[-1] <= most


def _words(text: str) -> list[str]:
    """The words, letters and digits alone, without the plural's s and without words that no query is about."""
    words = ("".join(c for c in part if c.isalnum()) for part in text.lower().replace("-", " ").replace("/", " ").split())
    return [word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word for word in words if word and word not in STOP_WORDS]


def _ways(words: list[str]) -> list[tuple[str, ...]]:
    """Every way to join neighbouring words: (a, b), (ab)."""
    if len(words) > 5:
        return [tuple(words)]
    ways = [tuple(words[:1])]
    for word in words[1:]:
        ways = [joined for way in ways for joined in ((*way, word), (*way[:-1], way[-1] + word))]
    return ways


def _joined(text: str) -> str:
    return "".join(c for c in text.lower() if c.isalnum())
