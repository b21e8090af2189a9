"""Variants of a query are spelt as shoppers type them."""

from __future__ import annotations

import random

import pytest
from rapidfuzz.distance import OSA

from reranker_distill.augmentation.spellings import Speller, hyphenated, joined, misspelt, other_number, other_unit

SHOP = [{"id": str(i), "title": "APC Smart Uninterruptible Power Supply (UPS) head set, note book, work station", "brand": "APC"} for i in range(6)]


def variants_of(way, query: str, n: int = 60) -> set[str]:
    return {way(query, random.Random(seed)) for seed in range(n)}


def test_a_misspelling_is_one_typing_error_in_a_long_word() -> None:
    found = variants_of(misspelt, "hp wireless keyboard", 300)
    assert len(found) > 40
    for text in found:
        words = text.split()
        assert words[0] == "hp"
        assert sum(a != b for a, b in zip(words, ["hp", "wireless", "keyboard"], strict=True)) == 1
        assert all(OSA.distance(a, b) <= 1 for a, b in zip(words[1:], ["wireless", "keyboard"], strict=True))
    assert sum(text.split()[1][0] == "w" and text.split()[2][0] == "k" for text in found) > 0.8 * len(found)


def test_short_words_and_numbers_are_not_misspelt() -> None:
    assert misspelt("hp usb tn-2110 12345", random.Random(1)) is None


@pytest.mark.parametrize(
    ("way", "query", "variant"),
    [
        (joined, "hard drive", "harddrive"),
        (other_number, "gaming laptop", "gaming laptops"),
        (other_number, "batteries", "battery"),
        (other_number, "wireless mouse", "wireless mice"),
        (other_unit, "16gb memory", "16 gb memory"),
        (other_unit, "8 port switch", "8port switch"),
        (other_unit, "24 inch monitor", '24" monitor'),
        (hyphenated, "docking station", "docking-station"),
        (hyphenated, "tn-2110", "tn2110"),
    ],
)
def test_other_ways_to_write_a_query(way, query: str, variant: str) -> None:
    assert variant in variants_of(way, query)


@pytest.mark.parametrize(
    ("way", "query"), [(joined, "toner for hp"), (joined, "laptop"), (other_unit, "laptop"), (hyphenated, "case for laptop"), (other_number, "usb 3.0")]
)
def test_queries_that_allow_no_such_variant(way, query: str) -> None:
    assert variants_of(way, query) == {None}


def test_the_shop_s_own_words_are_split_and_shortened() -> None:
    speller = Speller(SHOP)
    found = {speller.variant(query, random.Random(seed)) for seed in range(300) for query in ("headset", "uninterruptible power supply")}
    assert ("head set", "split") in found
    assert ("ups", "short form") in found


def test_a_name_keeps_its_number() -> None:
    ways = {speller_made[1] for seed in range(200) if (speller_made := Speller(SHOP).variant("hp elitebook", random.Random(seed), is_name=True))}
    assert "misspelt" in ways
    assert "number" not in ways
