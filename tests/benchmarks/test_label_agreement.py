"""Queries left out of training, and the agreement of a student with their labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.experiments.label_agreement import agreement, leave_out
from reranker.text import ProductTemplate
from reranker_distill.pairs import LabelledPair

PRODUCTS = {str(n): {"id": str(n), "title": str(n)} for n in range(5)}


def labelled(query: str, source: str, relevance: Sequence[float]) -> list[LabelledPair]:
    return [LabelledPair(query, str(n), f"{source}/rank {n}", (1 - p, p)) for n, p in enumerate(relevance)]


def by_title(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    return np.array([float(text.split(" | ")[0]) for _, text in pairs])


def test_left_out_queries_do_not_depend_on_the_other_queries() -> None:
    some = [pair for n in range(200) for pair in labelled(f"case {n}", "log", [0.1, 0.9])]
    judged = [pair for n in range(200) for pair in labelled(f"bag {n}", "judged", [0.1, 0.9])]
    divided = leave_out(some)
    assert sorted([*divided.learnt, *divided.left_out]) == sorted(some)
    left_out = {pair.query for pair in divided.left_out}
    assert 5 < len(left_out) < 60
    assert not left_out & {pair.query for pair in divided.learnt}
    assert leave_out([*judged, *some]).left_out == divided.left_out


def test_variations_of_left_out_queries_are_in_neither_part() -> None:
    queries = [
        f"{colour} {kind}" for colour in ("green", "yellow", "purple", "orange") for kind in ("keyboard", "notebook", "scanner", "projector", "cartridge")
    ]
    plain = [pair for query in queries for pair in labelled(query, "catalogue attribute type", [0.1, 0.9])]
    varied = [pair for query in queries for pair in labelled(query[:-2] + query[-1], "catalogue attribute type, misspelt", [0.1, 0.9])]
    divided = leave_out([*varied, *plain])
    learnt, left_out = ({pair.query for pair in part} for part in divided)
    assert left_out
    assert left_out <= set(queries)
    assert learnt == {query for query in queries if query not in left_out} | {query[:-2] + query[-1] for query in queries if query not in left_out}


def test_agreement_is_measured_within_each_query() -> None:
    template = ProductTemplate()
    rising, falling = labelled("a", "log", [0.1, 0.2, 0.3, 0.9]), labelled("b", "log", [0.9, 0.5, 0.4, 0.0])
    assert agreement(by_title, rising, PRODUCTS, template) == pytest.approx(1)
    assert agreement(by_title, falling, PRODUCTS, template) == pytest.approx(-1)
    assert agreement(by_title, [*rising, *falling], PRODUCTS, template) == pytest.approx(0)
    assert agreement(by_title, labelled("c", "log", [0.5, 0.5, 0.5]), PRODUCTS, template) is None
