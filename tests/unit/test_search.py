"""Two-stage search: what a shopper gets, whatever the student does."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from reranker import Hit, Product, SearchResponse, TwoStageSearch
from reranker.errors import FirstStageError, InputError
from reranker.scorer import Scorer


class Shelf:
    """A first stage that finds products 1, 2, 3 … in this order for any query."""

    name = "shelf"
    in_process = True

    def __init__(self, size: int) -> None:
        self.size = size

    def search(self, query: str, k: int) -> list[Hit]:
        return [Hit(str(i), 100.0 - i, i, {"id": str(i), "title": f"product {i}"}) for i in range(1, min(k, self.size) + 1)]

    def score(self, query: str, product_ids: Sequence[str]) -> dict[str, float]:
        return {i: 100.0 - int(i) for i in product_ids}

    def get(self, product_ids: Sequence[str]) -> dict[str, Product]:
        return {i: {"id": i, "title": f"product {i}"} for i in product_ids}

    def count(self) -> int:
        return self.size

    def close(self) -> None: ...


class Student(Scorer):
    """Scores by a function of the product's number."""

    model = "student@1"

    def __init__(self, score: Callable[[int], float]) -> None:
        self.of = score

    def score(self, query: str, products: Sequence[Product | str]) -> np.ndarray:
        return np.array([self.of(int(p["id"])) for p in products if not isinstance(p, str)], dtype=np.float32)


class Misbehaving(Scorer):
    """Does anything a student should not."""

    model = "misbehaving@1"

    def __init__(self, behaviour: Callable[[int], np.ndarray]) -> None:
        self.behaviour = behaviour

    def score(self, query: str, products: Sequence[Product | str]) -> np.ndarray:
        return self.behaviour(len(products))


def ids(response: SearchResponse) -> list[int]:
    return [int(result.product_id) for result in response.results]


REVERSED = Student(lambda i: i / 1000)


def test_the_student_orders_the_first_k_and_deeper_hits_keep_bm25_order() -> None:
    response = TwoStageSearch(Shelf(20), REVERSED, k=5).search("laptop", size=8)
    assert ids(response) == [5, 4, 3, 2, 1, 6, 7, 8]
    assert response.reranked
    assert response.fallback_reason is None
    assert response.scored == 5
    first, deeper = response.results[0], response.results[6]
    assert (first.rank, first.bm25_rank, first.bm25_score, first.student_score) == (1, 5, 95.0, pytest.approx(0.005))
    assert (deeper.rank, deeper.bm25_rank, deeper.student_score) == (7, 7, None)
    assert set(response.took_ms) == {"first_stage", "rerank", "total"}


def test_equal_scores_keep_bm25_order() -> None:
    response = TwoStageSearch(Shelf(10), Student(lambda i: float(i % 2)), k=10).search("laptop")
    assert ids(response) == [1, 3, 5, 7, 9, 2, 4, 6, 8, 10]


@pytest.mark.parametrize("size", [1, 3, 4, 7])
def test_pages_put_together_are_the_whole_order_with_nothing_twice_or_missing(size: int) -> None:
    search = TwoStageSearch(Shelf(23), REVERSED, k=10)
    whole = ids(search.search("laptop", size=23))
    pages = [ids(search.search("laptop", size=size, start=start)) for start in range(0, 23, size)]
    assert [i for page in pages for i in page] == whole
    assert [r.rank for r in search.search("laptop", size=size, start=9).results] == list(range(10, 10 + size))


def test_a_page_beyond_the_last_hit_is_empty() -> None:
    assert TwoStageSearch(Shelf(3), REVERSED).search("laptop", start=5).results == []


def raise_error(_: int) -> np.ndarray:
    raise RuntimeError("out of memory")


@pytest.mark.parametrize(
    ("behaviour", "fallback_reason"),
    [
        (raise_error, "the student failed: RuntimeError"),
        (lambda n: np.full(n, np.nan), "the student gave unusable scores"),
        (lambda n: np.array([np.inf] + [0.0] * (n - 1)), "the student gave unusable scores"),
        (lambda n: np.zeros(n - 1), "the student gave unusable scores"),
        (lambda n: np.zeros((n, 1)), "the student gave unusable scores"),
    ],
    ids=["raises", "NaN", "infinite", "too few", "wrong shape"],
)
@pytest.mark.parametrize("budget_ms", [None, 60_000], ids=["no budget", "budget"])
def test_a_failing_student_leaves_bm25_order_and_the_response_says_so(
    behaviour: Callable[[int], np.ndarray], fallback_reason: str, budget_ms: float | None
) -> None:
    response = TwoStageSearch(Shelf(9), Misbehaving(behaviour), budget_ms=budget_ms).search("laptop")
    assert ids(response) == list(range(1, 10))
    assert (response.reranked, response.fallback_reason, response.scored) == (False, fallback_reason, 0)
    assert {result.student_score for result in response.results} == {None}


def test_a_late_student_leaves_bm25_order_and_does_not_keep_the_shopper_waiting() -> None:
    go_on = threading.Event()

    def wait(n: int) -> np.ndarray:
        assert go_on.wait(60)
        return np.arange(n, dtype=np.float32)

    search = TwoStageSearch(Shelf(9), Misbehaving(wait), budget_ms=5)
    try:
        response = search.search("laptop")  # the student answers only after this has returned
    finally:
        go_on.set()
    assert ids(response) == list(range(1, 10))
    assert (response.reranked, response.fallback_reason) == (False, "the student took longer than its 5 ms")


def test_late_answers_do_not_pile_up() -> None:
    """With every worker stuck, queries that gave up waiting must not be scored later."""
    go_on, asked = threading.Event(), threading.Semaphore(0)

    def wait(n: int) -> np.ndarray:
        asked.release()
        assert go_on.wait(60)
        return np.zeros(n)

    search = TwoStageSearch(Shelf(9), Misbehaving(wait), budget_ms=5)
    for _ in range(20):
        search.search("laptop")
    go_on.set()
    search._workers.shutdown(wait=True)
    begun = 0
    while asked.acquire(blocking=False):
        begun += 1
    assert begun <= 2  # one a worker


def test_a_student_within_its_budget_reranks() -> None:
    assert TwoStageSearch(Shelf(3), REVERSED, budget_ms=60_000).search("laptop").reranked


def test_without_a_student_or_without_the_wish_bm25_order_stands() -> None:
    response = TwoStageSearch(Shelf(3), None).search("laptop")
    assert (ids(response), response.fallback_reason) == ([1, 2, 3], "no student is loaded")
    response = TwoStageSearch(Shelf(3), REVERSED).search("laptop", rerank=False)
    assert (ids(response), response.fallback_reason) == ([1, 2, 3], "not asked for")


def test_nothing_found_is_an_answer() -> None:
    response = TwoStageSearch(Shelf(0), REVERSED).search("laptop")
    assert (response.results, response.reranked, response.fallback_reason) == ([], False, "the first stage found nothing")


def test_a_failing_first_stage_is_an_error() -> None:
    class Down(Shelf):
        def search(self, query: str, k: int) -> list[Hit]:
            raise FirstStageError("OpenSearch does not answer.")

    with pytest.raises(FirstStageError, match="does not answer"):
        TwoStageSearch(Down(3), REVERSED).search("laptop")


@pytest.mark.parametrize(
    ("query", "options", "message"),
    [
        ("", {}, "query is empty"),
        (" \x00\t\n", {}, "query is empty"),
        ("x" * 10_000, {}, "query has 10,000 characters"),
        ("laptop", {"k": 0}, "k is 0"),
        ("laptop", {"k": 100_000}, "k is 100,000"),
        ("laptop", {"size": 0}, "Results 0 to 0"),
        ("laptop", {"start": -1}, "Results -1 to 9"),
        ("laptop", {"start": 10_000}, "Results 10,000 to 10,010"),
    ],
)
def test_bad_input_is_refused_with_what_is_allowed(query: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        TwoStageSearch(Shelf(3), REVERSED).search(query, **options)
    assert caught.value.hint


def test_control_characters_are_dropped_and_emoji_stay() -> None:
    assert TwoStageSearch(Shelf(3), REVERSED).search("\x1b gaming\x00\tlaptop 🎮 ").query == "gaming laptop 🎮"


def test_the_printed_form_has_everything_that_happened() -> None:
    response = TwoStageSearch(Shelf(3), Student(lambda i: i / 3), k=2).search("laptop", size=1)
    printed = response.as_dict()
    assert json.loads(response.as_json()) == printed
    assert printed.pop("took_ms").keys() == {"first_stage", "rerank", "total"}
    assert printed == {
        "query": "laptop",
        "reranked": True,
        "fallback_reason": None,
        "why_not": None,  # deprecated
        "scored": 2,
        "model": "student@1",
        "results": [{"rank": 1, "id": "2", "bm25_rank": 2, "bm25_score": 98.0, "student_score": 0.6666667, "product": {"id": "2", "title": "product 2"}}],
    }
