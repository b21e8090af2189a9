"""No query of a held-out intent, nor a rewording of one, reaches training."""

from __future__ import annotations

import pytest

from reranker.demo_data import demo_file
from reranker.judgments import Judgment, load_judgments
from reranker_distill.splits import HeldOutGuard, deal_intents, split_by_intent

DEMO = load_judgments(demo_file("judgments.csv"))


def test_an_intent_is_never_split() -> None:
    for fold in range(3):
        split = split_by_intent(DEMO, folds=3, held_out_fold=fold, seed=13)
        assert not {j.intent for j in split.train} & {j.intent for j in split.held_out}
        assert not {j.query for j in split.train} & {j.query for j in split.held_out}
        assert len(split.train) + len(split.held_out) == len(DEMO)


def test_the_folds_cover_all_intents_and_are_of_like_size() -> None:
    folds = deal_intents(DEMO, 3, seed=13)
    assert sorted(i for fold in folds for i in fold) == sorted({j.intent for j in DEMO})
    telling = {q for q in {j.query for j in DEMO} if 0 in (r := {j.rating for j in DEMO if j.query == q}) and max(r) >= 2}
    sizes = [len({j.query for j in DEMO if j.intent in fold} & telling) for fold in folds]
    assert max(sizes) - min(sizes) <= 4


HELD_OUT = [Judgment(query, "1", 3, intent, ()) for query, intent in (("laptop", "laptop"), ("head set", "headset"), ("external hard drive", "hdd"))]


@pytest.mark.parametrize(
    "query",
    [
        *["laptop", "LAPTOPS", "cheapest laptop with i9", "head set", "headset", "head-set", "heads set"],
        *["laptpo", "laptoop", "lptop", "laptopp", "kaptop", "laptpos", "cheap lapto", "cheaplaptop", "lap top", "lap-tops"],
        *["wireless headset", "haedset", "head sets for pc", "wireless-head-set"],
        *["external harddrive", "harddrive external", "extrenal hard drives", "externalharddrive", "1tb external hard dirve", "extrnal harddriev"],
    ],
)
def test_rewordings_and_misspellings_of_held_out_queries_are_refused(query: str) -> None:
    assert HeldOutGuard.of(HELD_OUT).refuses(query)


@pytest.mark.parametrize(
    "query", ["desktop", "lpatpo", "set top box", "projector lamp", "hard drive", "external drive", "headphones", "laminator", "lap desk", ""]
)
def test_other_queries_are_not_refused(query: str) -> None:
    assert not HeldOutGuard.of(HELD_OUT).refuses(query)


def test_short_words_are_held_as_they_are_written() -> None:
    guard = HeldOutGuard.of([Judgment("tv", "1", 3, "tv", ()), Judgment("desk", "1", 3, "desk", ())])
    assert guard.refuses("desks")
    assert not guard.refuses("disk")
    assert not guard.refuses("desktop")
    assert not guard.refuses("tz")


def test_queries_that_differ_in_capitals_stand_on_one_side() -> None:
    queries = ["Laptop", "laptop", "USB hub", "usb hub", "desk lamp", "Desk Lamp"]
    judgments = [Judgment(query, str(product), 3 * product, query) for query in queries for product in (0, 1)]
    for seed in range(8):
        for fold in range(3):
            split = split_by_intent(judgments, folds=3, held_out_fold=fold, seed=seed)
            assert len(split.held_out) == 4
            assert not {j.query.lower() for j in split.train} & {j.query.lower() for j in split.held_out}
