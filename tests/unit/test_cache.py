"""Caches: the same scores with and without, bounded, each entry computed once, and never shared between bundles."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from reranker import Reranker
from reranker.cache import ENTRY_BYTES, Cache, digest, text_digest
from reranker.cross_encoder import CrossEncoder
from reranker.rollout import Rollout
from reranker.service import create_app
from tests.served import until
from tests.tiny_bundle import make_tiny_bundle

PRODUCTS = ["Gaming laptop", "Laptop bag", {"title": "Desk", "brand": "IKEA"}, "USB A to USB B cable 1 m", "Laptop bag"]
QUERIES = ["laptop", "gaming laptop", "laptop ", "usb cable", "laptop"]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    make_tiny_bundle(folder / "one", level=2.0)
    make_tiny_bundle(folder / "two", level=4.0)
    return folder


@pytest.mark.parametrize("shipped", [True, False], ids=["bi-encoder", "cross-encoder"])
def test_scores_are_the_same_with_and_without_a_cache(shipped: bool, bundles: Path) -> None:
    path = None if shipped else bundles / "one"
    plain, cached = Reranker.load(path), Reranker.load(path, cache=100)
    for query in QUERIES:
        for products in (PRODUCTS, PRODUCTS[:2], PRODUCTS[::-1]):
            assert (cached.score(query, products) == plain.score(query, products)).all()
            assert (cached.raw_scores(query, products) == plain.raw_scores(query, products)).all()
    kind = "query_vectors" if shipped else "pair_scores"
    state = cached.caches()[kind]
    assert (state.misses, state.hits) == ((3, 27) if shipped else (9, 21))
    assert state.entries == state.misses
    assert state.bytes > 0
    assert plain.caches()[kind] == (0, 0, 0, 0)
    cached.clear_caches()
    assert all(state.entries == state.bytes == 0 for state in cached.caches().values())


class Rounding:
    """A model whose scores depend on the batch, as an int8 model's do."""

    def __init__(self) -> None:
        self.runs = 0

    def run(self, pairs, *, alone=False):
        self.runs += 1
        longest = max(len(text) for _, text in pairs)
        yield list(range(len(pairs))), np.array([[len(text) / longest] for _, text in pairs], dtype=np.float32), np.ones((1, 1), dtype=np.int64)


def test_scores_of_a_pair_in_another_list_are_not_reused() -> None:
    plain, cached = CrossEncoder(Rounding()), CrossEncoder(Rounding(), cached_lists=10)
    lists = [[("q", "a"), ("q", "bb")], [("q", "a"), ("q", "bbbb")], [("q", "a")], [("q", "a"), ("q", "bb")]]
    for pairs in lists:
        assert (cached.logits(pairs) == plain.logits(pairs)).all()
    assert cached._model.runs == 3


def test_a_caller_cannot_change_a_cached_array() -> None:
    scorer = CrossEncoder(Rounding(), cached_lists=10)
    scorer.logits([("q", "a")])[:] = 9
    assert scorer.logits([("q", "a")]) == [1]


def of(value: float, made: list[float] | None = None) -> Callable[[], np.ndarray]:
    def make() -> np.ndarray:
        if made is not None:
            made.append(value)
        return np.full(4, value, dtype=np.float32)

    return make


def test_the_least_recently_used_are_evicted_and_bytes_are_counted() -> None:
    size = 16 + ENTRY_BYTES
    for cache in (Cache(2 * size + 15), Cache(10**9, max_entries=2)):
        for key in (b"a", b"b", b"a", b"c"):
            cache.get(key, of(1))
        assert cache.find([b"a", b"b", b"c"]).keys() == {b"a", b"c"}
        assert cache.state() == (2, 2 * size, 3, 4)
        cache.add({b"a": np.zeros(1, dtype=np.float32)})
        assert cache.state().bytes == 2 * size - 12
        cache.clear()
        assert cache.state() == (0, 0, 3, 4)


def test_an_entry_larger_than_the_cache_evicts_nothing() -> None:
    cache = Cache(1_000)
    cache.get(b"a", of(1))
    cache.add({b"large": np.zeros(1_000, dtype=np.int8)})
    assert cache.get(b"larger", lambda: np.zeros(2_000)).nbytes == 16_000
    assert cache.find([b"a", b"large", b"larger"]).keys() == {b"a"}


def test_a_lower_limit_evicts_and_a_higher_one_makes_room() -> None:
    size = 16 + ENTRY_BYTES
    cache = Cache(3 * size)
    for key in (b"a", b"b", b"c"):
        cache.get(key, of(1))
    cache.limit(2 * size)
    assert cache.find([b"a", b"b", b"c"]).keys() == {b"b", b"c"}
    assert cache.state()[:2] == (2, 2 * size)
    cache.limit(0)
    cache.get(b"a", of(1))
    assert cache.state()[:2] == (0, 0)
    cache.limit(4 * size)
    for key in (b"a", b"b", b"c", b"d"):
        cache.get(key, of(1))
    assert cache.state()[:2] == (4, 4 * size)


def test_what_is_counted_is_what_is_used() -> None:
    cache, number = Cache(10**9), 5_000
    cache.add({b"warm": np.zeros(1)})
    tracemalloc.start()
    cache.add({digest([str(n)]): np.zeros(384, dtype=np.float16) for n in range(number)})
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert cache.state().bytes == pytest.approx(used, rel=0.1)


@pytest.mark.parametrize("shipped", [True, False], ids=["bi-encoder", "cross-encoder"])
def test_a_rerankers_caches_stay_below_their_limit_together(shipped: bool, bundles: Path) -> None:
    def size() -> int:
        return sum(state.bytes for state in reranker.caches().values())

    limit = 10_000
    reranker = Reranker.load("fast" if shipped else bundles / "one", cache=100, cache_bytes=limit)
    for n in range(12):
        reranker.score(f"laptop {n}", [f"laptop bag {n * 2}", f"laptop bag {n * 2 + 1}"])
    if not shipped:
        for n in range(40):
            reranker.score(f"desk {n}", ["desk"])
    assert limit - 4_000 < size() <= limit
    reranker.limit_caches(3_000)
    assert 0 < size() <= 3_000
    reranker.limit_caches(0)
    assert size() == 0


def test_the_digests_that_are_kept_have_a_limit() -> None:
    tracemalloc.start()
    for n in range(12_000):
        text_digest(f"{n} " + "x" * 1_900)
    usual = tracemalloc.get_traced_memory()[0]
    for n in range(200):
        text_digest(f"{n} " + "x" * 1_000_000)
    long = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert 10_000_000 < usual < 18_000_000
    assert long - usual < 100_000
    assert text_digest("a" * 5_000) == digest(["a" * 5_000])


@pytest.mark.parametrize("cache", [Cache(0), Cache(10**6, max_entries=0)], ids=["bytes", "entries"])
def test_a_cache_of_size_0_stores_nothing(cache: Cache) -> None:
    made: list[float] = []
    cache.get(b"a", of(1, made))
    cache.get(b"a", of(2, made))
    assert made == [1, 2]
    assert cache.state() == (0, 0, 0, 0)


def test_concurrent_requests_for_one_key_compute_it_once() -> None:
    cache, begun, gate, made = Cache(10**6), threading.Event(), threading.Event(), []

    def make() -> np.ndarray:
        made.append(1)
        begun.set()
        assert gate.wait(60)
        return np.ones(3)

    with ThreadPoolExecutor(5) as pool:
        answers = [pool.submit(cache.get, b"laptop", make) for _ in range(5)]
        assert begun.wait(60)
        gate.set()
        assert all((answer.result() == 1).all() for answer in answers)
    assert made == [1]
    assert cache.state()[2:] == (4, 1)


def test_if_the_first_thread_fails_a_waiting_one_computes_it() -> None:
    cache, gate = Cache(10**6), threading.Event()

    def fail() -> np.ndarray:
        assert gate.wait(60)
        raise RuntimeError

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.get, b"a", fail)
        until(lambda: cache.state().misses == 1)
        second = pool.submit(cache.get, b"a", of(2))
        gate.set()
        assert isinstance(first.exception(), RuntimeError)
        assert second.result()[0] == 2
    assert cache.get(b"a", of(3))[0] == 2  # what the waiting thread computed is cached


def test_texts_that_join_to_the_same_have_different_keys() -> None:
    keys = [digest(texts) for texts in (["ab", "c"], ["a", "bc"], ["abc"], ["abc", ""], ["", "abc"], [], [""], ["\ud800"], ["?"])]
    assert len(set(keys)) == len(keys)


def test_bundles_do_not_share_caches(bundles: Path) -> None:
    rollout = Rollout(bundles / "one", threads=1, cache=100, bundles=bundles)
    with TestClient(create_app(rollout)) as client:

        def scores() -> list[float]:
            answer = client.post("/v2/rerank", json={"query": "laptop", "documents": PRODUCTS}).json()
            return [result["relevance_score"] for result in answer["results"]]

        def metric(line: str) -> float:
            model = rollout.model
            found = [row for row in client.get("/metrics").text.splitlines() if row.startswith(line.replace("{", f'{{cache="pair_scores",model="{model}"'))]
            return float(found[0].split()[-1])

        one = scores()
        assert scores() == one
        assert metric('reranker_cache_lookups_total{,result="hit"}') == 1
        assert metric("reranker_cache_entries{}") == 1
        assert metric("reranker_cache_bytes{}") == 4 * 5 + ENTRY_BYTES
        old = rollout.pin()
        rollout.reload("two")
        assert old.caches()["pair_scores"].entries == 0
        two = scores()
        assert two != one
        assert two == [round(float(score), 7) for score in sorted(Reranker.load(bundles / "two").score("laptop", PRODUCTS), reverse=True)]
        rollout.rollback()
        assert scores() == one
