"""The latency of one reranked query by stage, and what the HTTP service adds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from benchmarks.machine import describe
from benchmarks.speed.interleaved_timing import SETTLE_S, without_garbage_collection
from benchmarks.speed.search_requests import SIZE, InProcessClient, service
from benchmarks.speed.settings import Settings
from benchmarks.speed.statistics import Estimate, percentile, ratio, rounded
from benchmarks.speed.workload import TimedQuery, timed_queries
from reranker.bi_encoder import BiEncoder, unit_means
from reranker.bundle import CROSS_ENCODER, MODEL, QUERIES, Bundle
from reranker.first_stage import FirstStage
from reranker.onnx_model import OnnxModel
from reranker.reranker import Reranker
from reranker.search import TwoStageSearch
from reranker.text import clean

STAGES = {
    "first_stage": "first stage: BM25's hits, products included",
    "render": "rendering products as text",
    "look_up": "hashing texts, looking up product vectors",
    "tokenise_query": "tokenising the query",
    "onnx_query": "ONNX run of the query",
    "dot": "pooling, dot products",
    "tokenise_pairs": "tokenising query with products",
    "onnx_pairs": "ONNX runs of query with products",
    "order": "relevance and order",
    "json": "response as JSON",
}
_WHOLE = {
    "python": "both stages in Python, and JSON",
    "bare": "first stage + bare ONNX run",
    "in_process": "GET /search, through the app in this process",
    "http": "GET /search, over HTTP on this machine",
}


class _Student(NamedTuple):
    """A bundle's parts, to time one by one. A bi-encoder has ``vectors`` and a query encoder; a cross-encoder has ``pairs``."""

    vectors: BiEncoder | None
    queries: OnnxModel | None
    pairs: OnnxModel | None


@dataclass(frozen=True)
class Profile:
    """Microseconds, float64 (rounds, queries), by stage and by whole search. Product vectors are cached."""

    stages: dict[str, np.ndarray]
    wholes: dict[str, np.ndarray]
    hits: int
    bundle: str
    architecture: str
    settings: Settings
    machine: dict[str, Any]

    @property
    def rest(self) -> np.ndarray:
        """The part of the search in Python that no timed stage explains: (rounds, queries). Noise may make it negative."""
        rest: np.ndarray = self.wholes["python"] - np.sum(list(self.stages.values()), axis=0)
        return rest

    def ratio(self, whole: str) -> Estimate:
        """Return the latency of a whole search divided by that of the first stage plus the bare ONNX run."""
        return ratio(self.wholes[whole], self.wholes["bare"])

    def as_dict(self) -> dict[str, Any]:
        """Return the content of ``benchmark-profile.json``: microseconds with 95 % intervals over queries."""
        whole = float(np.median(self.wholes["python"]))
        stages = {**self.stages, "rest": self.rest}
        return {
            "quick": self.settings.quick,
            "machine": self.machine,
            "bundle": self.bundle,
            "architecture": self.architecture,
            "hits": self.hits,
            "queries": self.settings.queries,
            "rounds": self.settings.rounds,
            "stages_us": {
                name: {"label": label(name), "p50": percentile(took, 50).as_dict(), "share": rounded(float(np.median(took)) / whole)}
                for name, took in stages.items()
            },
            "whole_us": {
                name: {"label": _WHOLE[name], "p50": percentile(took, 50).as_dict(), "p95": percentile(took, 95).as_dict()}
                for name, took in self.wholes.items()
            },
            "ratio_to_bare_run": {name: self.ratio(name).as_dict() for name in self.wholes if name != "bare"},
        }


def label(name: str) -> str:
    """Return the display name of a stage or a whole search."""
    return {**STAGES, **_WHOLE, "rest": "rest: checks, building the page, everything not timed by itself"}[name]


def measure_profile(
    first_stage: FirstStage,
    bundle: Bundle,
    name: str,
    settings: Settings,
    *,
    threads: int,
    say: Callable[[str], None] = lambda _: None,
    on_round: Callable[[str], None] = lambda _: None,
) -> Profile:
    """Time every stage, the whole search in Python, and the service, on the same queries in turn. The vectors of all hits are cached.

    Raises:
        InputError: too few queries find enough products.
        ServiceError: the service does not start or answer.
    """
    k = settings.ks[0]
    say("Finding hits")
    queries = timed_queries(first_stage, settings.queries, k)
    reranker = Reranker(bundle, threads=threads)
    student = _parts(bundle, reranker.architecture, threads)
    say("Starting the service")
    with InProcessClient(first_stage, reranker, k) as in_process, service(bundle.path, k, threads) as http:
        search = TwoStageSearch(first_stage, reranker, k=k)
        stages: dict[str, np.ndarray] = {}
        wholes: dict[str, np.ndarray] = {name: np.zeros((settings.rounds, len(queries))) for name in _WHOLE}
        for i in range(-1, settings.rounds):  # round -1 warms up
            on_round("Warming up" if i < 0 else f"Round {i + 1} of {settings.rounds}")
            with without_garbage_collection():
                for q in range(len(queries)):
                    parts = _time_stages(student, first_stage, reranker, search, queries[q])
                    took = {
                        "python": _settled(lambda q=q: _seconds(lambda: _in_python(search, queries[q]))),  # type: ignore[misc]
                        "bare": parts["first_stage"] + parts.get("onnx_query", 0.0) + parts.get("onnx_pairs", 0.0),
                        "in_process": _settled(lambda q=q: in_process.seconds(queries[q].query)),  # type: ignore[misc]
                        "http": _settled(lambda q=q: http.seconds(queries[q].query)),  # type: ignore[misc]
                    }
                    for name, seconds in parts.items() if i >= 0 else ():
                        stages.setdefault(name, np.zeros((settings.rounds, len(queries))))[i, q] = seconds * 1e6
                    for name, seconds in took.items() if i >= 0 else ():
                        wholes[name][i, q] = seconds * 1e6
    return Profile({name: stages[name] for name in STAGES if name in stages}, wholes, k, name, reranker.architecture, settings, describe(threads))


def _parts(bundle: Bundle, architecture: str, threads: int) -> _Student:
    scale = float(bundle.manifest.student.get("scale", 1.0))
    model = OnnxModel(bundle, MODEL, threads)
    if architecture == CROSS_ENCODER:
        return _Student(None, None, model)
    queries = OnnxModel(bundle, QUERIES, threads) if QUERIES in bundle.manifest.files else model
    return _Student(BiEncoder(model, scale), queries, None)


def _time_stages(student: _Student, first_stage: FirstStage, reranker: Reranker, search: TwoStageSearch, asked: TimedQuery) -> dict[str, float]:
    """Run each stage of one query by itself, and return its seconds."""
    took: dict[str, float] = {}
    products, query = asked.products, clean(asked.query)

    def timed(name: str, work: Callable[[], Any]) -> Any:
        began = perf_counter()
        result = work()
        took[name] = perf_counter() - began
        return result

    response = search.search(asked.query, size=SIZE)
    if student.queries is not None and student.vectors is not None:
        student.vectors.product_vectors([reranker.template.render(product) for product in products])  # fills the cache
        list(student.queries.run([query]))
    time.sleep(SETTLE_S)
    timed("first_stage", lambda: first_stage.search(asked.query, len(products)))
    texts: Sequence[str] = timed("render", lambda: [reranker.template.render(product) for product in products])
    scores = np.zeros(len(products), dtype=np.float32)
    if student.vectors is not None and student.queries is not None:
        encoder = student.queries
        vectors = timed("look_up", lambda: student.vectors.product_vectors(texts) if student.vectors is not None else None)
        encodings = timed("tokenise_query", lambda: encoder.tokenise([query]))
        ((_, feeds),) = encoder.feeds(encodings)
        hidden = timed("onnx_query", lambda: encoder.infer(feeds))
        scores = timed("dot", lambda: _dot(hidden, feeds["attention_mask"], vectors))
    if student.pairs is not None:
        pairs = student.pairs
        encodings = timed("tokenise_pairs", lambda: pairs.tokenise([(query, text) for text in texts]))
        batches = [feeds for _, feeds in pairs.feeds(encodings)]
        timed("onnx_pairs", lambda: [pairs.infer(feeds) for feeds in batches])
    timed("order", lambda: np.argsort(-1 / (1 + np.exp(-scores)), kind="stable"))
    timed("json", response.as_json)
    return took


def _dot(hidden: np.ndarray, mask: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    asked = np.repeat(unit_means(hidden, mask), len(vectors), axis=0)
    cosines: np.ndarray = np.einsum("ij,ij->i", asked, vectors, dtype=np.float32)
    return cosines


def _in_python(search: TwoStageSearch, asked: TimedQuery) -> bytes:
    return search.search(asked.query, size=SIZE).as_json()


def _settled(measure: Callable[[], float]) -> float:
    """Measure twice with a pause between, and return the second: the CPU caches are warm and no other threads run."""
    measure()
    time.sleep(SETTLE_S)
    return measure()


def _seconds(work: Callable[[], Any]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began
