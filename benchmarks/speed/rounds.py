"""Contenders timed by turns: in each round, on each few queries, all of them, in an order that changes, so that drift hits all alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from benchmarks.speed.contenders.contender import Contender
from benchmarks.speed.workload import TimedQuery

QUERIES_AT_A_TURN = 5
WARM_UP_QUERIES = 3
SETTLE_S = 0.05
"""Threads of whoever ran before (ONNX Runtime's, OpenMP's) spin for a while after the last run: on two cores they would halve the next one's."""


def turns(contenders: int, rounds: int, chunks: int) -> Iterator[tuple[int, int, list[int]]]:
    """Yield (round, chunk of queries, order of the contenders): another one begins each time, and every second order runs backwards."""
    for i in range(rounds):
        for chunk in range(chunks):
            turn = i * chunks + chunk
            order = [(turn + place) % contenders for place in range(contenders)]
            yield i, chunk, order if turn % 2 == 0 else [order[0], *order[:0:-1]]


@contextmanager
def no_collection() -> Iterator[None]:
    """Collect garbage now and not within: a collection would hit whoever runs when it is due, whoever made the garbage."""
    gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def timed(contender: Contender, query: str, products: Sequence) -> tuple[float, float]:
    """Return milliseconds and CPU-milliseconds (of all threads) from query and products to scores in order."""
    contender.before_query()
    cpu, began = time.process_time(), time.perf_counter()
    scores = contender.score(query, products)
    np.argsort(-scores, kind="stable")
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    return (took - contender.elsewhere_s) * 1e3, (cpu + contender.cpu_elsewhere_s) * 1e3


def settle(contender: Contender, query: TimedQuery, k: int) -> None:
    """Wait for the threads of the contender before, and bring this one's code and weights back into the caches."""
    time.sleep(SETTLE_S)
    timed(contender, query.query, query.products[:k])


def measure_rounds(
    contenders: Sequence[Contender],
    queries: Sequence[TimedQuery],
    ks: Sequence[int],
    rounds: int,
    *,
    on_turn: Callable[[str], None] = lambda _: None,
) -> tuple[np.ndarray, np.ndarray, list[list[str]]]:
    """Time every contender on every query with the first k hits, ``rounds`` times, after an untimed warm-up.

    Args:
        ks: how many hits; each query holds as many.
        on_turn: told a contender's label before its turn: rounds · chunks · contenders times.

    Returns:
        Milliseconds and CPU-milliseconds, float64 (contenders, ks, rounds, queries) each, and the names of the contenders in the order of each turn.
    """
    products = list({str(p["id"]): p for timed_query in queries for p in timed_query.products[: max(ks)]}.values())
    for contender in contenders:
        contender.prepare(products)
        for warm_up in queries[:WARM_UP_QUERIES]:
            for k in ks:
                timed(contender, warm_up.query, warm_up.products[:k])
    took = np.zeros((len(contenders), len(ks), rounds, len(queries)))
    cpu = np.zeros_like(took)
    chunks = [range(start, min(start + QUERIES_AT_A_TURN, len(queries))) for start in range(0, len(queries), QUERIES_AT_A_TURN)]
    orders = []
    for i, chunk, order in turns(len(contenders), rounds, len(chunks)):
        orders.append([contenders[c].name for c in order])
        for c in order:
            on_turn(contenders[c].label)
            with no_collection():
                settle(contenders[c], queries[chunks[chunk][0]], min(ks))
                for q in chunks[chunk]:
                    for at, k in enumerate(ks):
                        took[c, at, i, q], cpu[c, at, i, q] = timed(contenders[c], queries[q].query, queries[q].products[:k])
    return took, cpu, orders
