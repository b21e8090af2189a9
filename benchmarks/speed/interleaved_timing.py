"""Interleaved timing: every round gives each system a turn on a few queries, in changing order, so that drift affects all alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from benchmarks.speed.systems.system import System
from benchmarks.speed.workload import TimedQuery

QUERIES_AT_A_TURN = 5
WARM_UP_QUERIES = 3
SETTLE_S = 0.05
"""Pause before a system is timed. Threads of the previous system (ONNX Runtime, OpenMP) keep spinning after their last run and would slow it down."""


def turns(systems: int, rounds: int, chunks: int) -> Iterator[tuple[int, int, list[int]]]:
    """Yield (round, chunk of queries, order of the systems). Each turn starts with another system, and every second turn is reversed."""
    for i in range(rounds):
        for chunk in range(chunks):
            turn = i * chunks + chunk
            order = [(turn + place) % systems for place in range(systems)]
            yield i, chunk, order if turn % 2 == 0 else [order[0], *order[:0:-1]]


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Collect garbage before the block and not within it: a collection would be charged to the system that happens to run."""
    gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def timed(system: System, query: str, products: Sequence) -> tuple[float, float]:
    """Score and sort once; return milliseconds, and CPU milliseconds of all threads."""
    system.before_query()
    cpu, began = time.process_time(), time.perf_counter()
    scores = system.score(query, products)
    np.argsort(-scores, kind="stable")
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    return (took - system.transport_s) * 1e3, (cpu + system.child_cpu_s) * 1e3


def settle(system: System, query: TimedQuery, k: int) -> None:
    """Wait for the previous system's threads, and bring this system's code and weights back into the CPU caches."""
    time.sleep(SETTLE_S)
    timed(system, query.query, query.products[:k])


def time_interleaved(
    systems: Sequence[System],
    queries: Sequence[TimedQuery],
    ks: Sequence[int],
    rounds: int,
    *,
    on_turn: Callable[[str], None] = lambda _: None,
) -> tuple[np.ndarray, np.ndarray, list[list[str]]]:
    """Time every system on every query with the first k hits, ``rounds`` times, after an untimed warm-up.

    Args:
        ks: numbers of hits; each query has at least the largest.
        on_turn: called with a system's label before its turn: rounds · chunks · systems times.

    Returns:
        Milliseconds and CPU milliseconds, float64 (systems, ks, rounds, queries) each, and the order of the systems' names in each turn.
    """
    products = list({str(p["id"]): p for timed_query in queries for p in timed_query.products[: max(ks)]}.values())
    for system in systems:
        system.prepare(products)
        for warm_up in queries[:WARM_UP_QUERIES]:
            for k in ks:
                timed(system, warm_up.query, warm_up.products[:k])
    took = np.zeros((len(systems), len(ks), rounds, len(queries)))
    cpu = np.zeros_like(took)
    chunks = [range(start, min(start + QUERIES_AT_A_TURN, len(queries))) for start in range(0, len(queries), QUERIES_AT_A_TURN)]
    orders = []
    for i, chunk, order in turns(len(systems), rounds, len(chunks)):
        orders.append([systems[c].name for c in order])
        for c in order:
            on_turn(systems[c].label)
            with without_garbage_collection():
                settle(systems[c], queries[chunks[chunk][0]], min(ks))
                for q in chunks[chunk]:
                    for at, k in enumerate(ks):
                        took[c, at, i, q], cpu[c, at, i, q] = timed(systems[c], queries[q].query, queries[q].products[:k])
    return took, cpu, orders
