"""How a bundle's latency grows with hits, document length and concurrent clients, and the cost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.machine import describe
from benchmarks.speed.cost import assumptions, cost
from benchmarks.speed.interleaved_timing import without_garbage_collection
from benchmarks.speed.settings import Settings
from benchmarks.speed.statistics import Estimate, Line, line, percentile, rounded
from benchmarks.speed.workload import TimedQuery, timed_queries
from reranker.bundle import MODEL, Bundle
from reranker.first_stage import FirstStage
from reranker.onnx_model import OnnxModel
from reranker.reranker import Reranker
from reranker.search import TwoStageSearch
from reranker.text import clean

HITS = (10, 20, 50, 100, 200, 500, 1_000)
TOKENS = (16, 32, 64, 96, 128, 192, 256)
CHARACTERS = (60, 120, 240, 600)
CLIENTS = (1, 2, 4, 8, 16)
LOADED = 4
"""The number of concurrent clients whose cost stands for a service under load."""

_MOST_CHARACTERS = 4_000
_MOST_LENGTH_QUERIES = 5


@dataclass(frozen=True)
class Growth:
    """Milliseconds as a function of ``x``: ``x`` and ``took`` float64 (points, queries), medians over rounds; ``fit``: fixed + slope · x."""

    x: np.ndarray
    took: np.ndarray
    fit: Line

    def as_dict(self, x: str) -> dict[str, Any]:
        points = [{x: rounded(float(np.median(xs))), "p50_ms": percentile(ys[None], 50).as_dict()} for xs, ys in zip(self.x, self.took, strict=True)]
        return {"points": points, "fixed_ms": self.fit.fixed.as_dict(), f"ms_per_{x.rstrip('s')}": self.fit.slope.as_dict()}


@dataclass(frozen=True)
class Load:
    """Concurrent clients: queries a second, latency in milliseconds, CPU milliseconds a query."""

    clients: int
    throughput: Estimate
    p50: Estimate
    p95: Estimate
    cpu_ms: float


@dataclass(frozen=True)
class Scale:
    """The result. ``hits``: by whether product vectors are cached; ``costs``: CPU milliseconds a query by path."""

    hits: dict[str, Growth]
    tokens: Growth
    characters: Growth
    loads: list[Load]
    costs: dict[str, float]
    cost_hits: int
    length_hits: int
    bundle: str
    settings: Settings
    core_hour_price: float
    machine: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return the content of ``benchmark-scale.json``: figures with 95 % intervals."""
        return {
            "quick": self.settings.quick,
            "machine": self.machine,
            "bundle": self.bundle,
            "queries": self.settings.queries,
            "rounds": self.settings.rounds,
            "hits": {name: growth.as_dict("hits") for name, growth in self.hits.items()},
            "document_length": {
                "hits": self.length_hits,
                "of": "milliseconds a document, products new",
                "by_max_tokens": self.tokens.as_dict("tokens"),
                "by_max_characters": self.characters.as_dict("tokens"),
            },
            "clients": [
                {
                    "clients": load.clients,
                    "queries_per_second": load.throughput.as_dict(),
                    "p50_ms": load.p50.as_dict(),
                    "p95_ms": load.p95.as_dict(),
                    "cpu_ms_per_query": rounded(load.cpu_ms),
                }
                for load in self.loads
            ],
            "cost": {"hits": self.cost_hits, "assumes": assumptions(self.core_hour_price)}
            | {path: cost(cpu_ms, self.core_hour_price) for path, cpu_ms in self.costs.items()},
        }


def measure_scale(
    first_stage: FirstStage,
    bundle: Bundle,
    name: str,
    settings: Settings,
    *,
    threads: int,
    core_hour_price: float,
    say: Callable[[str], None] = lambda _: None,
) -> Scale:
    """Measure how latency grows. A cross-encoder has no product vectors to cache.

    Raises:
        InputError: too few queries find enough products.
    """
    ks, seconds = ((5, 10, 20), 0.3) if settings.quick else (HITS, 3.0)
    k = min(50, ks[-1])
    say("Finding hits")
    queries = timed_queries(first_stage, settings.queries, ks[-1])
    reranker = Reranker(bundle, threads=threads)
    hits = {}
    for products in ("products known", "products new") if reranker.keeps_vectors else ("all products",):
        say(f"Hits, {products}")
        hits[products] = _by_hits(reranker, queries, ks, settings.rounds, new=products == "products new")
    few = queries[:_MOST_LENGTH_QUERIES]
    limits, lengths = (TOKENS[:2], CHARACTERS[:2]) if settings.quick else (TOKENS, CHARACTERS)
    say("Length of documents, by tokens")
    tokens = _by_length(bundle, few, k, settings.rounds, threads, [(limit, _MOST_CHARACTERS) for limit in limits])
    say("Length of documents, by characters")
    characters = _by_length(bundle, few, k, settings.rounds, threads, [(bundle.manifest.max_length, most) for most in lengths])
    say("Clients at once")
    loads = _by_clients(reranker, queries, k, settings.rounds, seconds / settings.rounds)
    say("Cost")
    costs = _costs(first_stage, reranker, queries, k, loads, samples=20 if settings.quick else 200)
    return Scale(hits, tokens, characters, loads, costs, k, k, name, settings, core_hour_price, describe(threads))


def _by_hits(reranker: Reranker, queries: Sequence[TimedQuery], ks: Sequence[int], rounds: int, *, new: bool) -> Growth:
    for query in queries:
        reranker.precompute([] if new else query.products)
    took = np.zeros((len(ks), rounds, len(queries)))
    for i in range(-1, rounds):  # round -1 warms up
        with without_garbage_collection():
            for q, query in enumerate(queries if i >= 0 else queries[:2]):
                for place in range(len(ks)):
                    at = (place + max(i, 0) + q) % len(ks)  # each time another number of hits comes first
                    if new:
                        reranker.clear_caches()
                    took[at, max(i, 0), q] = _ms(lambda at=at, query=query: reranker.rerank(query.query, query.products[: ks[at]]))  # type: ignore[misc]
    medians = np.median(took, axis=1)
    x = np.repeat(np.array(ks, dtype=float)[:, None], len(queries), axis=1)
    return Growth(x, medians, line(x, medians))


def _by_length(bundle: Bundle, queries: Sequence[TimedQuery], k: int, rounds: int, threads: int, limits: Sequence[tuple[int, int]]) -> Growth:
    """Time uncached products with texts cut to (tokens, characters). x: mean tokens of a document; y: milliseconds a document."""
    cut = []
    for tokens, characters in limits:
        template = bundle.manifest.template.model_copy(update={"max_characters": characters})
        cut.append(bundle._replace(manifest=bundle.manifest.model_copy(update={"max_length": tokens, "template": template})))
    rerankers = [Reranker(shorter, threads=threads) for shorter in cut]
    x, took = np.zeros((len(limits), len(queries))), np.zeros((len(limits), rounds, len(queries)))
    for at, (shorter, reranker) in enumerate(zip(cut, rerankers, strict=True)):
        model = OnnxModel(shorter, MODEL, 1)
        for q, query in enumerate(queries):
            texts = [reranker.template.render(product) for product in query.products[:k]]
            read = model.tokenise(texts if reranker.keeps_vectors else [(clean(query.query), text) for text in texts])
            x[at, q] = np.mean([len(encoding.ids) for encoding in read])
    for i in range(-1, rounds):
        with without_garbage_collection():
            for q, query in enumerate(queries if i >= 0 else queries[:1]):
                for place in range(len(limits)):
                    at = (place + max(i, 0) + q) % len(limits)
                    rerankers[at].clear_caches()
                    took[at, max(i, 0), q] = _ms(lambda at=at, query=query: rerankers[at].rerank(query.query, query.products[:k])) / k  # type: ignore[misc]
    medians = np.median(took, axis=1)
    return Growth(x, medians, line(x, medians))


def _by_clients(reranker: Reranker, queries: Sequence[TimedQuery], k: int, rounds: int, seconds: float) -> list[Load]:
    for query in queries:
        reranker.precompute(query.products[:k])
    done: dict[int, list[tuple[float, list[float], float]]] = {clients: [] for clients in CLIENTS}
    for i in range(rounds):
        for place in range(len(CLIENTS)):
            clients = CLIENTS[(place + i) % len(CLIENTS)]
            with without_garbage_collection():
                done[clients].append(_under_load(reranker, queries, k, clients, seconds))
    loads = []
    for clients, runs in done.items():
        rates = np.array([[len(took) / elapsed for elapsed, took, _ in runs]])
        all_took = np.array([ms for _, took, _ in runs for ms in took])
        some = np.random.default_rng(13).choice(all_took, min(len(all_took), 1_000), replace=False)[None]
        cpu_ms = sum(cpu for _, _, cpu in runs) / len(all_took) * 1e3
        loads.append(Load(clients, percentile(rates, 50), percentile(some, 50), percentile(some, 95), cpu_ms))
    return loads


def _under_load(reranker: Reranker, queries: Sequence[TimedQuery], k: int, clients: int, seconds: float) -> tuple[float, list[float], float]:
    """Run clients that send one query after another; return elapsed seconds, milliseconds of each query, and CPU seconds."""
    took: list[list[float]] = [[] for _ in range(clients)]
    began, cpu = time.perf_counter(), time.process_time()

    def ask(client: int) -> None:
        turn = client
        while not took[client] or time.perf_counter() - began < seconds:
            query = queries[turn % len(queries)]
            took[client].append(_ms(lambda query=query: reranker.rerank(query.query, query.products[:k])))  # type: ignore[misc]
            turn += 1

    askers = [threading.Thread(target=ask, args=(client,)) for client in range(clients)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    return time.perf_counter() - began, [ms for each in took for ms in each], time.process_time() - cpu


def _costs(first_stage: FirstStage, reranker: Reranker, queries: Sequence[TimedQuery], k: int, loads: Sequence[Load], *, samples: int) -> dict[str, float]:
    """Return the mean CPU milliseconds of all threads a query, by path."""
    search = TwoStageSearch(first_stage, reranker, k=k)
    known = "rerank, products known" if reranker.keeps_vectors else "rerank"
    costs = {
        known: _cpu_ms(queries, lambda query: reranker.rerank(query.query, query.products[:k]), samples),
        "first stage and rerank": _cpu_ms(queries, lambda query: search.search(query.query), samples),
    }
    costs |= {f"{known}, {load.clients} clients at once": load.cpu_ms for load in loads if load.clients == LOADED}
    if reranker.keeps_vectors:

        def anew(query: TimedQuery) -> None:
            reranker.clear_caches()
            reranker.rerank(query.query, query.products[:k])

        costs["rerank, products new"] = _cpu_ms(queries[:_MOST_LENGTH_QUERIES], anew, len(queries[:_MOST_LENGTH_QUERIES]))
    return costs


def _cpu_ms(queries: Sequence[TimedQuery], work: Callable[[TimedQuery], Any], samples: int) -> float:
    work(queries[0])
    cpu = time.process_time()
    for i in range(samples):
        work(queries[i % len(queries)])
    return (time.process_time() - cpu) / samples * 1e3


def _ms(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3
