"""Splits judgments by intent, so that no metric is measured on a rewording of a training query."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import OSA

from reranker.analysis import STOP_WORDS, tokens
from reranker.judgments import Judgment


class Split(NamedTuple):
    """Judgments for training, and those of the held-out intents."""

    train: list[Judgment]
    held_out: list[Judgment]


def deal_intents(judgments: Sequence[Judgment], folds: int, seed: int) -> list[list[str]]:
    """Divide intents into folds, balancing the number of queries that can tell rankings apart; an intent is never split.

    Intents are compared in lower case: "Laptop" and "laptop" are one.
    """
    ratings: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for judgment in judgments:
        ratings[judgment.intent.casefold()][judgment.query].add(judgment.rating)
    weight = {intent: sum(0 in r and max(r) >= 2 for r in queries.values()) + 0.1 * len(queries) for intent, queries in ratings.items()}
    intents = sorted(ratings)
    random.Random(seed).shuffle(intents)
    fold_intents: list[list[str]] = [[] for _ in range(folds)]
    loads = [0.0] * folds
    for intent in sorted(intents, key=lambda i: -weight[i]):  # stable: the shuffle breaks ties
        lightest = loads.index(min(loads))
        fold_intents[lightest].append(intent)
        loads[lightest] += weight[intent]
    return fold_intents


def split_by_intent(judgments: Sequence[Judgment], *, folds: int, held_out_fold: int, seed: int) -> Split:
    """Hold out one fold of the intents."""
    held_out = set(deal_intents(judgments, folds, seed)[held_out_fold])
    return Split([j for j in judgments if j.intent.casefold() not in held_out], [j for j in judgments if j.intent.casefold() in held_out])


class HeldOutGuard:
    """Recognises queries that reword a held-out query, narrow it down, or misspell it.

    Refused are queries that hold all index terms of a held-out query or its letters in one piece: "cheapest laptop with i9"
    where "laptop" is held out, "headset" where "head set" is. Each of its words counts as held also in the plural, joined
    to the next word ("harddrive"), or another word ("cheaplaptop"), or with typing errors: one (two letters swapped
    count as one) in words of ``MIN_LETTERS`` or more, two in those of ``LONG`` or more.
    Look-ups are indexed, so that the time hardly depends on the number of held-out queries.
    """

    MIN_LETTERS = 5
    LONG = 8

    def __init__(self, queries: Iterable[str]) -> None:
        texts = set(queries)
        self._terms = _by_one_word({terms for text in texts if (terms := frozenset(tokens(text)))})
        self._joined = {_joined(text) for text in texts} - {""}
        # "external hard drive" is there where each of its words is, or "external" and "harddrive", and so on
        ways = {frozenset(way) for text in texts for way in _ways(_words(text)) if way}
        self._ways = _by_one_word(ways)
        self._words = frozenset(word for way in ways for word in way)
        self._long = sorted(word for word in self._words if len(word) >= self.MIN_LETTERS)
        self._errors = np.array([2 if len(word) >= self.LONG else 1 for word in self._long], dtype=np.uint8)
        self._held_in: dict[str, frozenset[str]] = {}

    @classmethod
    def of(cls, held_out: Sequence[Judgment]) -> HeldOutGuard:
        """Guard the judged queries and the names of their intents."""
        return cls({j.query for j in held_out} | {j.intent for j in held_out})

    def refuses(self, query: str) -> bool:
        """Whether a query rewords, narrows or misspells a held-out one."""
        terms = frozenset(tokens(query))
        if _joined(query) in self._joined or any(held <= terms for term in terms for held in self._terms.get(term, ())):
            return True
        words = _words(query)
        pieces = {"".join(words[i : i + n]) for n in (1, 2, 3) for i in range(len(words) - n + 1)}
        self._look_up(pieces - self._held_in.keys())
        held = frozenset().union(*(self._held_in[piece] for piece in pieces))
        return any(way <= held for word in held for way in self._ways.get(word, ()))

    def _look_up(self, pieces: set[str]) -> None:
        """Find which held words each piece of a query is: the same, one glued to another word, or one with typing errors."""
        found = {piece: {piece} & self._words for piece in pieces}
        long = [piece for piece in pieces if len(piece) >= self.MIN_LETTERS]
        if long and self._long:
            near = process.cdist(long, self._long, scorer=OSA.distance, score_cutoff=2, dtype=np.uint8) <= self._errors
            for row, column in zip(*near.nonzero(), strict=True):
                found[long[row]] |= {self._long[column]}
        for piece in long:
            ends = (part for n in range(self.MIN_LETTERS + 1, len(piece)) for part in (piece[:n], piece[-n:]))
            found[piece] |= {part for part in ends if part in self._words}
        self._held_in.update((piece, frozenset(held)) for piece, held in found.items())


def _by_one_word(sets: Iterable[frozenset[str]]) -> dict[str, list[frozenset[str]]]:
    """Index sets of words by the longest word of each, to look up few of them."""
    out: dict[str, list[frozenset[str]]] = defaultdict(list)
    for words in sets:
        out[max(words, key=lambda word: (len(word), word))].append(words)
    return dict(out)


def _words(text: str) -> list[str]:
    """Return the words, only letters and digits, without a plural s and without stop words."""
    words = ("".join(c for c in part if c.isalnum()) for part in text.lower().replace("-", " ").replace("/", " ").split())
    return [word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word for word in words if word and word not in STOP_WORDS]


def _ways(words: list[str]) -> list[tuple[str, ...]]:
    """Return every way to join adjacent words: (a, b), (ab)."""
    if len(words) > 5:
        return [tuple(words)]
    ways = [tuple(words[:1])]
    for word in words[1:]:
        ways = [joined for way in ways for joined in ((*way, word), (*way[:-1], way[-1] + word))]
    return ways


def _joined(text: str) -> str:
    return "".join(c for c in text.lower() if c.isalnum())
