"""Variants of queries: with a typing error, joined or split, in the plural, abbreviated."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import pairwise

from reranker.products import Product
from reranker.text import clean
from reranker_distill.augmentation.english import SHORT_FORMS, SMALL_WORDS, plural, singular
from reranker_distill.augmentation.titles import pieces, title_text

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_ADJACENT_KEYS = {key: "".join(row[max(0, i - 1) : i] + row[i + 1 : i + 2] for row in _ROWS if (i := row.find(key)) >= 0) for key in "".join(_ROWS)}
_UNIT = re.compile(r"\b(\d+(?:\.\d+)?) ?(gb|tb|mb|mah|mp|w|va|mm|cm|inch|in|ft|m|port|pin)\b")
_INITIALS = re.compile(r"((?:[A-Za-z][a-z-]+[ -]){2,5})\(([A-Z]{2,5})\)")

_WEIGHTS = {"misspelt": 10, "joined": 3, "split": 2, "number": 3, "hyphenated": 2, "unit": 2, "short form": 2, "capitals": 1}
MIN_LETTERS = 5  # shorter words are seldom misspelt, and their misspellings are other words


class Speller:
    """Makes variants of queries, as (text, how), with the catalogue's words and the abbreviations in its titles."""

    def __init__(self, products: Iterable[Product]) -> None:
        self._word_counts: Counter[str] = Counter()
        self._short: dict[str, str] = dict(SHORT_FORMS)
        for product in products:
            self._word_counts.update({w for w in map(str.lower, pieces(title_text(product))) if w.isalpha()})
            for words, initials in _INITIALS.findall(clean(str(product["title"]))):
                # "Uninterruptible Power Supply (UPS)": the last words whose first letters are the abbreviation
                long = re.split(r"[ -]", words.strip())[-len(initials) :]
                if "".join(w[0] for w in long).upper() == initials:
                    self._short[" ".join(long).lower()] = initials.lower()
        self._makers: dict[str, Callable[[str, random.Random], str | None]] = {
            "misspelt": misspelt,
            "joined": joined,
            "split": self._split,
            "number": other_number,
            "hyphenated": hyphenated,
            "unit": other_unit,
            "short form": self._short_form,
            "capitals": capitals,
        }

    def variant(self, query: str, rng: random.Random, *, is_name: bool = False) -> tuple[str, str] | None:
        """Return a variant and how it differs, or None where there is none; the same for the same seed.

        Args:
            is_name: the query ends on a product's name, which has neither plural nor parts.
        """
        remaining = {how: weight for how, weight in _WEIGHTS.items() if not (is_name and how in ("number", "split"))}
        while remaining:
            (how,) = rng.choices(list(remaining), list(remaining.values()))
            del remaining[how]
            text = self._makers[how](query, rng)
            if text and text != query:
                return text, how
        return None

    def _split(self, query: str, rng: random.Random) -> str | None:
        """ "headset" → "head set": where both halves are words of the catalogue."""
        words = query.split()
        places = [
            (i, cut)
            for i, word in enumerate(words)
            if len(word) > 6 and word.isalpha()
            for cut in range(3, len(word) - 2)
            if self._word_counts[word[:cut]] > 4 and self._word_counts[word[cut:]] > 4
        ]
        if not places:
            return None
        i, cut = max(places, key=lambda place: self._word_counts[words[place[0]][: place[1]]] * self._word_counts[words[place[0]][place[1] :]])
        return " ".join([*words[:i], words[i][:cut], words[i][cut:], *words[i + 1 :]])

    def _short_form(self, query: str, rng: random.Random) -> str | None:
        found = [long for long in self._short if re.search(rf"(?<!\S){re.escape(long)}(?!\S)", query)]
        if not found or query in SHORT_FORMS:
            return None
        long = max(found, key=len)
        return re.sub(rf"(?<!\S){re.escape(long)}(?!\S)", self._short[long], query, count=1)


def misspelt(query: str, rng: random.Random) -> str | None:
    """One typing error in one word: letters swapped, dropped, doubled, or the next key's; the first letter is rarely changed."""
    words = query.split()
    places = [i for i, word in enumerate(words) if len(word) >= MIN_LETTERS and word.isalpha()]
    if not places:
        return None
    i = rng.choice(places)
    word = words[i]
    at = 0 if rng.random() < 0.04 else rng.randrange(1, len(word))
    key = word[at].lower()
    errors = [word[:at] + word[at + 1 :], word[:at] + word[at] + word[at:]]
    if at + 1 < len(word):
        errors.append(word[:at] + word[at + 1] + word[at] + word[at + 2 :])
    if key in _ADJACENT_KEYS:
        errors.append(word[:at] + rng.choice(_ADJACENT_KEYS[key]) + word[at + 1 :])
    words[i] = rng.choice([error for error in errors if error != word])
    return " ".join(words)


def joined(query: str, rng: random.Random) -> str | None:
    """ "hard drive" → "harddrive": two adjacent words without the blank."""
    words = query.split()
    places = [i for i, (a, b) in enumerate(pairwise(words)) if a.isalpha() and b.isalpha() and min(len(a), len(b)) > 2 and not {a, b} & SMALL_WORDS]
    if not places:
        return None
    i = places[-1] if rng.random() < 0.7 else rng.choice(places)
    return " ".join([*words[:i], words[i] + words[i + 1], *words[i + 2 :]])


def other_number(query: str, rng: random.Random) -> str | None:
    """ "laptop" ↔ "laptops"."""
    *first, last = query.split()
    if not last.isalpha() or len(last) < 3:
        return None
    return " ".join([*first, singular(last) if singular(last) != last else plural(last)])


def hyphenated(query: str, rng: random.Random) -> str | None:
    """ "s-video cable" → "s video cable", "tn-2110" → "tn2110", "docking station" → "docking-station"."""
    if "-" in query:
        return query.replace("-", rng.choice(["", " "]), 1)
    words = query.split()
    if len(words) < 2 or not all(w.isalpha() and w not in SMALL_WORDS for w in words[-2:]):
        return None
    return " ".join([*words[:-2], f"{words[-2]}-{words[-1]}"])


def other_unit(query: str, rng: random.Random) -> str | None:
    """ "16gb" ↔ "16 gb", "24 inch" ↔ "24in" or "24\\""."""
    found = _UNIT.search(query)
    if not found:
        return None
    number, unit = found.groups()
    if unit in ("inch", "in"):
        written = rng.choice([f"{number}in", f'{number}"', f"{number}inch"])
    else:
        written = f"{number}{unit}" if " " in found.group() else f"{number} {unit}"
    return query[: found.start()] + written + query[found.end() :]


def capitals(query: str, rng: random.Random) -> str | None:
    return rng.choice([query.upper(), query.title(), query.capitalize()])
