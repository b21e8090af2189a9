"""English analysis: the terms that OpenSearch's ``english`` analyser makes of the same texts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from reranker.analysis import _measure, analysed, tokens


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("The Gaming Laptops", ["game", "laptop"]),
        ("a backpack for the laptop", ["backpack", "laptop"]),
        ("Logitech's keyboards", ["logitech", "keyboard"]),
        ("children’s toys", ["children", "toi"]),
        ("generously", ["gener"]),  # Porter; Porter 2 would keep "generous"
        ("USB-C hub/dock", ["usb", "c", "hub", "dock"]),
        ('15.6" 1,000 GB', ["15.6", "1,000", "gb"]),
        ("i9-10900K RTX_2060", ["i9", "10900k", "rtx_2060"]),
        ("wi-fi 802.11ac", ["wi", "fi", "802.11ac"]),
        ("Café ÉCRAN", ["café", "écran"]),
        ("电脑 tv", ["电", "脑", "tv"]),
        ("a 🙂 \x00 \t !!", ["🙂"]),
        ("\x00 \t !! ½", []),
        ("technology assembly", ["technolog", "assembl"]),
        ("", []),
        ("to be or not to be", []),
    ],
)
def test_terms(text: str, terms: list[str]) -> None:
    assert list(tokens(text)) == terms


def test_a_word_of_ten_thousand_letters_is_cut() -> None:
    assert max(map(len, tokens("x" * 10_000))) == 255


def test_analysed_text_holds_the_terms() -> None:
    assert analysed("The gaming laptops") == "game laptop"


def test_threads_do_not_disturb_each_other() -> None:
    words = [f"gaming{'s' * (i % 3)} laptops running" for i in range(400)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(analysed, words)) == [analysed(word) for word in words]


@pytest.mark.parametrize(
    "unit", ["a", "a'", "'", "a\u0301", "\u0301", "1.", "1..", "1,2.3;", "电", "カ電", "🙂", "a:", "²", "_", "\u00ad", "y" * 250 + "logi "]
)
def test_a_long_hostile_text_is_analysed(unit: str) -> None:
    """With work that is not linear in the text this would take hours."""
    assert max(map(len, tokens((unit * 300_000)[:300_000])), default=0) <= 255


def test_the_measure_of_a_long_stem_is_linear() -> None:
    assert not _measure("y" * 300_000)  # a backtracking expression would need 10 to the 10th steps
    assert _measure("y" * 300_000 + "b")
