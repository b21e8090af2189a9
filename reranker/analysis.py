"""English analysis like OpenSearch's ``english`` analyser, so that both first stages match the same words.

Steps: Unicode word boundaries (as Lucene's standard tokeniser), possessive ``'s`` dropped,
lower case, Lucene's English stop words, Porter's stemmer (the original, not Porter 2) in Lucene's version.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator

import Stemmer

_STOP_WORDS = "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to was will with"  # Lucene's
STOP_WORDS = frozenset(_STOP_WORDS.split())
MAX_TOKEN_CHARACTERS = 255

# UAX #29 as far as catalogues need it: letters and digits form a word; "." and "'" join letters or digits on
# both sides, "," joins digits, ":" splits (as in the standard tokeniser's default), "_" joins. Signs such as ² and ½
# are not letters, although Python's \w matches them; combining marks and soft hyphens belong to their word; ® and emoji are words.
_NO_LETTERS = "²³¹¼-¾⁰-₉⅐-⅟①-⒛⓪-⓿❶-➓"
_MARKS = "\u00ad\u0300-\u036f\u200c\u200d\ufe00-\ufe0f"
_PICTURES = "©®™\u203c\u2049\u2139\u2194-\u21aa\u231a-\u23fa\u25aa-\u27bf\u2b05-\u2b55\U0001f000-\U0001faff"
_RUN = f"[^\\W{_NO_LETTERS}](?:[^\\W{_NO_LETTERS}]|[{_MARKS}])*"
_WORD = re.compile(rf"{_RUN}(?:(?:(?<=\d)[.,;'’](?=\d)|(?<=[^\W\d_])[.'’:·](?=[^\W\d_])){_RUN})*|[{_PICTURES}]")
_CJK = re.compile(r"([぀-ゟ㐀-䶿一-鿿豈-﫿]|[゠-ヿ]+)")  # each such character is a token; katakana is split by run
_VOWELS = re.compile(r"(?:[aeiou]|(?<=[^aeiou])y)+")
_local = threading.local()


def _stem(word: str) -> str:
    """Stem as Lucene does: Porter's algorithm with its author's two later changes; short words are left alone."""
    if len(word) <= 2:
        return word
    stemmer = getattr(_local, "stemmer", None)
    if stemmer is None:  # a Stemmer object must not be shared between threads
        stemmer = _local.stemmer = Stemmer.Stemmer("porter")
    stemmed: str = stemmer.stemWord(word)
    if stemmed.endswith("logi") and _measure(stemmed[:-4]):  # technology → technolog
        return stemmed[:-1]
    if stemmed.endswith("bli") and _measure(stemmed[:-3]):  # assembly → assembl
        stemmed = stemmer.stemWord(stemmed[:-1] + "e")
    return stemmed


def _measure(stem: str) -> bool:
    """Return whether Porter's measure of a stem is above 0: its first vowels are followed by a consonant."""
    vowels = _VOWELS.search(stem)
    return vowels is not None and stem[vowels.end() : vowels.end() + 1] not in {"", *"aeiouy"}


def tokens(text: str) -> Iterator[str]:
    """Yield the index terms of a text."""
    for match in _WORD.finditer(text):
        word = match.group()
        if _CJK.search(word):
            yield from (part.lower() for part in _CJK.split(word) if part)
            continue
        for piece in (word[i : i + MAX_TOKEN_CHARACTERS] for i in range(0, len(word), MAX_TOKEN_CHARACTERS)):
            if len(piece) > 2 and piece[-2] in "'’" and piece[-1] in "sS":
                piece = piece[:-2]
            piece = piece.lower()
            if piece not in STOP_WORDS:
                yield _stem(piece)


def analysed(text: str) -> str:
    """Return the index terms of a text, joined by spaces."""
    return " ".join(tokens(text))
