"""No query of a held-out intent, nor a rewording of one, reaches training."""

from __future__ import annotations

import pytest

from distill.splits import HeldOutGuard, deal_intents, split_by_intent
from reranker.demo_data import demo_file
from reranker.judgments import Judgment, load_judgments

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


@pytest.mark.parametrize("query", ["laptop", "LAPTOPS", "cheapest laptop with i9", "head set", "headset", "head-set", "heads set"])
def test_rewordings_of_held_out_queries_are_refused(query: str) -> None:
    guard = HeldOutGuard([Judgment("laptop", "1", 3, "laptop", ()), Judgment("head set", "2", 3, "headset", ())])
    assert guard.refuses(query)


@pytest.mark.parametrize("query", ["desktop", "set top box", "projector lamp"])
def test_other_queries_are_not_refused(query: str) -> None:
    guard = HeldOutGuard([Judgment("laptop", "1", 3, "laptop", ()), Judgment("head set", "2", 3, "headset", ())])
    assert not guard.refuses(query)
