"""Splits titles into runs of plain words, separated by measures, numbers, signs and function words."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from reranker.products import Product
from reranker.text import clean
from reranker_distill.augmentation.english import BRAND_TAIL, SMALL_WORDS, UNITS

_PIECE = re.compile(r"[^\s,;:()\[\]/|+–—\"“”]+|[,;:()\[\]/|+–—\"“”]")
_LISTED = re.compile(r"[,;/&]")
_PLAIN = re.compile(r"[a-z]{2,}(?:-[a-z]+)*|[a-z](?:-[a-z]{2,})+")


def shop_brand(brand: str) -> str:
    """Return a brand as shoppers type it: "StarTech.com" is "startech", "Kingston Technology" is "kingston"."""
    words = clean(brand).lower().removesuffix(".com").split()
    while len(words) > 1 and words[-1].strip(".,") in BRAND_TAIL:
        words.pop()
    return " ".join(words)


def title_text(product: Product) -> str:
    """Return the title, without the brand it begins with."""
    title, brand = clean(str(product["title"])), clean(str(product.get("brand") or ""))
    return title[len(brand) :].strip() if brand and title.lower().startswith(brand.lower()) else title


def pieces(title: str) -> list[str]:
    """Return the title's words and signs."""
    return [piece.strip(".'®™*") or piece for piece in _PIECE.findall(title)]


def is_plain(word: str) -> bool:
    """Whether a word is lower-case letters, and no number, unit or function word."""
    return bool(_PLAIN.fullmatch(word)) and word not in SMALL_WORDS and word not in UNITS


def segments(title: str, apart: Collection[str] = ()) -> Iterator[list[str]]:
    """Yield the runs of plain words in lower case; a word of ``apart`` ends a run.

    Where a title's name is followed by a description, in lower case or with a repeated word, there are two runs:
    "Snagless Patch Cable | networking cable", "Urban Sleeve | notebook case".
    """
    run: list[str] = []
    named = False
    for piece in pieces(title):
        word = piece.lower()
        if not is_plain(word) or word in apart:
            if run:
                yield run
            run, named = [], False
            continue
        if run and named and piece.islower():
            yield run
            run = []
        named = piece.istitle()
        if word in run:
            yield run
            run = run[run.index(word) + 1 :]
        run.append(word)
    if run:
        yield run


def attribute_words(product: Product) -> Iterator[tuple[str, str]]:
    """Yield (attribute, value) in lower case for values, or parts of listed values, of one or two words."""
    for name, value in (product.get("attributes") or {}).items():
        if isinstance(value, list):
            value = ", ".join(map(str, value))
        if not isinstance(value, str) or len(value) > 120:  # a text, not a value
            continue
        for part in _LISTED.split(value.lower()) if _LISTED.search(value) else (value.lower(),):
            part = part.strip()
            if 2 < len(part) < 30 and part.count(" ") < 2 and part not in ("yes", "no"):
                yield str(name).replace("_", " "), part
