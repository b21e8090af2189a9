"""``python -m benchmarks load``: the service under rising load.

`reranker serve` on the embedded demo index runs in one process. A second process sends the demo's query log, Zipf-distributed,
in an open loop: searches arrive at random (Poisson) at a given rate, whether or not earlier ones are answered, and latency
counts from the scheduled arrival. The rate rises from light load to several times what the service can rerank.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

from benchmarks.load.outcomes import OUTCOMES, Sent
from benchmarks.output import DEFAULT_OUT, Out, output_folder, require, write_result
from reranker.demo_data import demo_file
from reranker.embedded import open_or_build_demo
from reranker.onnx_model import cores
from tests.served import Served, served

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.25, 1.5, 2.0, 3.0)
CLIENTS = 4  # as many as `reranker serve` works on at once
MEMORY_LEVEL = 0.8
MOST_WARM_UP_S = 600.0
NOTE = "The generator shares the cores with the service; on separate machines the service would do more."


class Settings(NamedTuple):
    """``serve``: options of `reranker serve` · ``levels``: offered load as multiples of the closed-loop throughput · ``requests``: of the memory test."""

    serve: list[str]
    levels: list[float]
    seconds: float
    deadline_ms: float
    requests: int
    zipf: float
    seed: int


def generate(url: str, queries: list[str], scratch: Path, **job: Any) -> Sent:
    """Run the generator in its own process, and return what it recorded."""
    out = scratch / "sent.npz"
    subprocess.run(
        [sys.executable, "-m", "benchmarks.load.generator"],
        input=json.dumps({"url": url, "queries": queries, "out": str(out), **job}),
        text=True,
        check=True,
    )
    with np.load(out) as columns:
        return Sent(**columns)


def memory_mb(pid: int) -> float:
    """Return the resident memory (RSS) of a process in megabytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def repeating(look: Callable[[], None], every_s: float) -> Iterator[None]:
    """Call ``look`` every so many seconds, in a thread, until the block ends."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(every_s):
            look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def watching_memory(pid: int, every_s: float = 1.0) -> Iterator[list[tuple[float, float]]]:
    """Record (seconds, MB) of a process until the block ends."""
    began = time.monotonic()
    samples: list[tuple[float, float]] = [(0.0, memory_mb(pid))]
    with repeating(lambda: samples.append((round(time.monotonic() - began, 2), memory_mb(pid))), every_s):
        yield samples


def look_ups(service: Served) -> dict[str, dict[str, float]]:
    """Return the hits and misses of each of the service's caches so far."""
    _, text, _ = service.ask("/metrics")
    counted: dict[str, dict[str, float]] = {}
    for cache, result, value in re.findall(r'^reranker_cache_lookups_total\{cache="(\w+)",.*result="(\w+)"\} (\S+)$', text, re.MULTILINE):
        counted.setdefault(cache, {})[result] = float(value)
    return counted


def hit_ratios(before: dict[str, dict[str, float]], after: dict[str, dict[str, float]]) -> dict[str, float | None]:
    """Return the hit ratio of each cache between two counts; None where there was no look-up."""
    ratios: dict[str, float | None] = {}
    for cache, counts in after.items():
        change = {result: value - before.get(cache, {}).get(result, 0.0) for result, value in counts.items()}
        ratios[cache] = round(change["hit"] / sum(change.values()), 4) if sum(change.values()) else None
    return ratios


def summary(sent: Sent, *, deadline_ms: float) -> dict[str, Any]:
    """Return rates, shares and latencies. Latencies are milliseconds from the scheduled arrival and include refusals."""
    n = len(sent.scheduled)
    latency = (sent.done - sent.scheduled) * 1e3
    shares = {name: round(float((sent.outcome == i).sum()) / n, 4) for i, name in enumerate(OUTCOMES)}
    seconds = float(sent.done.max() - sent.scheduled[0])
    answered = n * (1 - shares["refused"] - shares["failed"])
    percentiles = {f"p{p}_ms": round(float(np.percentile(latency, p)), 2) for p in (50, 95, 99)}
    reranked = latency[sent.outcome == OUTCOMES.index("reranked")]
    return {
        "requests": n,
        "offered_per_s": round((n - 1) / max(float(sent.scheduled[-1] - sent.scheduled[0]), 1e-9), 1),
        "answered_per_s": round(answered / seconds, 1),
        "reranked_per_s": round(len(reranked) / seconds, 1),
        "shares": shares,
        "share_beyond_deadline": round(float((latency > deadline_ms).mean()), 4),
        **percentiles,
        "reranked_p95_ms": round(float(np.percentile(reranked, 95)), 2) if len(reranked) else None,
        "generator_late_p99_ms": round(float(np.percentile((sent.sent - sent.scheduled) * 1e3, 99)), 2),
    }


def log_queries() -> list[str]:
    """Return the queries of the demo's log, the most frequent first."""
    return [line.split("\t")[0] for line in demo_file("queries.tsv").read_text(encoding="utf-8").splitlines()[1:]]


def answered_queries(log: list[str], scratch: Path) -> list[str]:
    """Return the queries that find a product."""
    first_stage = open_or_build_demo(scratch / "index")
    try:
        return [query for query in log if first_stage.search(query, 1)]
    finally:
        first_stage.close()


def warm_up(service: Served, queries: list[str], scratch: Path, *, most_s: float) -> float:
    """Send each query until it is reranked once (new products may miss the deadline at first), and return the seconds spent."""
    began, left = time.monotonic(), queries
    while left and time.monotonic() - began < most_s:
        outcomes = generate(service.url, left, scratch, clients=1, seconds=most_s).outcome  # one client keeps their order
        names = dict(zip(left, (OUTCOMES[int(outcome)] for outcome in outcomes), strict=False))
        left = [query for query in left if names.get(query) != "reranked"]
    return time.monotonic() - began


def measure(settings: Settings, scratch: Path) -> dict[str, Any]:
    """Serve, warm up, measure each level, and watch the memory if asked to."""
    log = log_queries()
    queries = answered_queries(log, scratch)
    with served(scratch, "--threads", str(cores()), *settings.serve) as service:
        warm_up_s = 0.0 if "--vectors" in settings.serve else warm_up(service, queries, scratch, most_s=MOST_WARM_UP_S)
        shuffled = np.random.default_rng(settings.seed)
        shares = 1.0 / np.arange(1, len(queries) + 1) ** settings.zipf
        often = [queries[i] for i in shuffled.choice(len(queries), 100_000, p=shares / shares.sum())]
        saturating = summary(generate(service.url, often, scratch, clients=CLIENTS, seconds=settings.seconds), deadline_ms=settings.deadline_ms)
        rate = saturating["answered_per_s"]
        print(f"{len(queries):,} queries, warm after {warm_up_s:.0f} s; {CLIENTS} clients in a closed loop get {rate:.0f} answers a second", flush=True)
        levels = []
        for number, level in enumerate(settings.levels, start=2):  # each level draws its own searches, so that caches do not know them from another level
            before = look_ups(service)
            job = {"rate": rate * level, "requests": max(20, int(rate * level * settings.seconds)), "zipf": settings.zipf, "seed": settings.seed + number}
            sent = generate(service.url, queries, scratch, **job)
            row = {"level": level, **summary(sent, deadline_ms=settings.deadline_ms), "cache_hit_ratio": hit_ratios(before, look_ups(service))}
            levels.append(row | {"rss_mb": round(memory_mb(service.process.pid), 1)})
            print(json.dumps(levels[-1]), flush=True)
        memory = None
        if settings.requests:
            job = {"rate": rate * MEMORY_LEVEL, "requests": settings.requests, "zipf": settings.zipf, "seed": settings.seed + 1}
            with watching_memory(service.process.pid) as samples:
                sent = generate(service.url, queries, scratch, **job)
            memory = {**summary(sent, deadline_ms=settings.deadline_ms), "stands_for_s_at_100_per_s": settings.requests / 100, **flatness(samples)}
            print(json.dumps({name: value for name, value in memory.items() if name != "rss_mb_by_second"}), flush=True)
        model = service.ask("/ready")[1]["student"]
    return {
        "note": NOTE,
        "cores": cores(),
        "machine": platform.machine(),
        "serve": settings.serve,
        "student": model,
        "queries": len(queries),
        "queries_left_out": len(log) - len(queries),
        "queries_left_out_because": "they find nothing and never reach the student",
        "zipf": settings.zipf,
        "deadline_ms": settings.deadline_ms,
        "seconds_a_level": settings.seconds,
        "warm_up_s": round(warm_up_s, 1),
        "in_turns": {"clients": CLIENTS, **saturating},
        "levels": levels,
        "memory": memory,
    }


def flatness(samples: list[tuple[float, float]]) -> dict[str, Any]:
    """Return memory over time, and its growth from the second to the last quarter of the time."""
    megabytes = np.array([mb for _, mb in samples])
    quarter = max(1, len(megabytes) // 4)
    early, late = megabytes[quarter : 2 * quarter], megabytes[-quarter:]
    growth = None if len(megabytes) < 4 else round(float(np.median(late) - np.median(early)), 1)
    return {"rss_growth_mb": growth, "rss_most_mb": round(float(megabytes.max()), 1), "rss_mb_by_second": [[at, round(mb, 1)] for at, mb in samples]}


def load(
    out: Out = DEFAULT_OUT,
    serve: Annotated[str, typer.Option("--serve", metavar="OPTIONS", help="Options of `reranker serve`.")] = "--budget-ms 100 --timeout-ms 1000",
    level: Annotated[
        list[float] | None, typer.Option("--level", help="Offered load as a multiple of the closed-loop throughput; may be repeated. Default: 0.1 to 3.")
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="Duration of each level.")] = 20.0,
    deadline_ms: Annotated[float, typer.Option("--deadline-ms", help="Later answers count as beyond the deadline; the service's --timeout-ms.")] = 1000.0,
    requests: Annotated[int, typer.Option("--requests", min=0, help="Further searches at 0.8 of the throughput, to watch the memory.")] = 0,
    zipf: Annotated[float, typer.Option("--zipf", help="The n-th query of the log is drawn in proportion to 1/n to this power.")] = 1.0,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
) -> None:
    """Load the HTTP service with the demo's query log at rising rates. Writes load.json and load.png.

    Without --vectors in --serve, each query is sent once beforehand, so that the product vectors are cached; the queries are then cached as well.
    """
    require("aiohttp", "matplotlib")
    from benchmarks.load.picture import draw

    folder = output_folder(out)
    settings = Settings(shlex.split(serve), level or list(LEVELS), seconds, deadline_ms, requests, zipf, seed)
    with tempfile.TemporaryDirectory() as scratch:
        result = measure(settings, Path(scratch))
    write_result(folder / "load.json", result)
    draw(result, folder / "load.png")
    print(f"Written: {folder / 'load.json'}, {folder / 'load.png'}")
