"""The service under load: what shoppers get as more and more searches are offered, and whether its memory stays flat.

    reranker vectors --out vectors
    python -m benchmarks.load.load --out DIR [--requests 360000] [--serve "--budget-ms 100 --timeout-ms 1000 --vectors vectors"]

`reranker serve` on the embedded demo index runs in one process; another offers it the demo's real query log, Zipf-distributed,
in an open loop: searches arrive at random (Poisson) at a given rate, whether or not the earlier ones are answered, and a
latency counts from when the search should have been sent. The rate goes from light to several times what the service can rerank.
Without --vectors, the service first meets each query once, so that it knows the products; then it also knows all queries.
Writes load.json and load.png.
"""

from __future__ import annotations

import argparse
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.load.load_generator import OUTCOMES, Sent
from benchmarks.load.load_picture import draw
from reranker.demo_data import demo_file
from reranker.embedded import open_or_build
from reranker.onnx_model import cores
from tests.served import Served, served

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.25, 1.5, 2.0, 3.0)
CLIENTS = 4  # as many as `reranker serve` works for at once
NOTE = "The generator runs on the same cores as the service and takes its share of them: on a machine of their own, both would do more."


def generate(url: str, queries: list[str], scratch: Path, **job: Any) -> Sent:
    """Run the generator in a process of its own, and return what it noted."""
    out = scratch / "sent.npz"
    subprocess.run(
        [sys.executable, "-m", "benchmarks.load.load_generator"],
        input=json.dumps({"url": url, "queries": queries, "out": str(out), **job}),
        text=True,
        check=True,
    )
    with np.load(out) as columns:
        return Sent(**columns)


def memory_mb(pid: int) -> float:
    """Return the memory that a process has of its own in RAM (RSS)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def watching_memory(pid: int, every_s: float = 1.0) -> Iterator[list[tuple[float, float]]]:
    """Note (seconds, MB) of a process until the block ends."""
    noted: list[tuple[float, float]] = [(0.0, memory_mb(pid))]
    over, began = threading.Event(), time.monotonic()

    def watch() -> None:
        while not over.wait(every_s):
            noted.append((round(time.monotonic() - began, 2), memory_mb(pid)))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield noted
    finally:
        over.set()
        thread.join()


def look_ups(service: Served) -> dict[str, dict[str, float]]:
    """Return hits and misses so far of each of the service's caches."""
    _, text, _ = service.ask("/metrics")
    counted: dict[str, dict[str, float]] = {}
    for cache, result, value in re.findall(r'^reranker_cache_lookups_total\{cache="(\w+)",.*result="(\w+)"\} (\S+)$', text, re.MULTILINE):
        counted.setdefault(cache, {})[result] = float(value)
    return counted


def hit_ratios(before: dict[str, dict[str, float]], after: dict[str, dict[str, float]]) -> dict[str, float | None]:
    """Return hits per look-up between two counts; None where a cache was not asked."""
    ratios: dict[str, float | None] = {}
    for cache, counts in after.items():
        change = {result: value - before.get(cache, {}).get(result, 0.0) for result, value in counts.items()}
        ratios[cache] = round(change["hit"] / sum(change.values()), 4) if sum(change.values()) else None
    return ratios


def summary(sent: Sent, *, deadline_ms: float) -> dict[str, Any]:
    """Return rates, shares and latencies of what was sent; latencies in milliseconds from the scheduled arrival, refusals included."""
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
    first_stage = open_or_build(scratch / "index", None)
    try:
        return [query for query in log if first_stage.search(query, 1)]
    finally:
        first_stage.close()


def warm_up(service: Served, queries: list[str], scratch: Path, *, most_s: float) -> float:
    """Ask each query until it was reranked once (one whose products are new may be late at first), and return the seconds that took."""
    began, left = time.monotonic(), queries
    while left and time.monotonic() - began < most_s:
        outcomes = generate(service.url, left, scratch, clients=1, seconds=most_s).outcome  # one client: in their order
        names = dict(zip(left, (OUTCOMES[int(outcome)] for outcome in outcomes), strict=False))
        left = [query for query in left if names.get(query) != "reranked"]
    return time.monotonic() - began


def measure(arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    options = shlex.split(arguments.serve)
    log = log_queries()
    queries = answered_queries(log, scratch)
    with served(scratch, "--threads", str(cores()), *options) as service:
        warm_up_s = 0.0 if "--vectors" in options else warm_up(service, queries, scratch, most_s=arguments.most_warm_up_s)
        shuffled = np.random.default_rng(arguments.seed)
        shares = 1.0 / np.arange(1, len(queries) + 1) ** arguments.zipf
        often = [queries[i] for i in shuffled.choice(len(queries), 100_000, p=shares / shares.sum())]
        saturating = summary(generate(service.url, often, scratch, clients=CLIENTS, seconds=arguments.seconds), deadline_ms=arguments.deadline_ms)
        rate = saturating["answered_per_s"]
        print(f"{len(queries):,} queries, warm after {warm_up_s:.0f} s; {CLIENTS} clients in turns are answered {rate:.0f} times a second", flush=True)
        levels = []
        for number, level in enumerate(arguments.levels, start=2):  # each level has searches of its own: the caches would know those of another
            before = look_ups(service)
            job = {"rate": rate * level, "requests": max(20, int(rate * level * arguments.seconds)), "zipf": arguments.zipf, "seed": arguments.seed + number}
            sent = generate(service.url, queries, scratch, **job)
            row = {"level": level, **summary(sent, deadline_ms=arguments.deadline_ms), "cache_hit_ratio": hit_ratios(before, look_ups(service))}
            levels.append(row | {"rss_mb": round(memory_mb(service.process.pid), 1)})
            print(json.dumps(levels[-1]), flush=True)
        memory = None
        if arguments.requests:
            job = {"rate": rate * arguments.memory_level, "requests": arguments.requests, "zipf": arguments.zipf, "seed": arguments.seed + 1}
            with watching_memory(service.process.pid) as noted:
                sent = generate(service.url, queries, scratch, **job)
            memory = {**summary(sent, deadline_ms=arguments.deadline_ms), "stands_for_s_at_100_per_s": arguments.requests / 100, **flatness(noted)}
            print(json.dumps({name: value for name, value in memory.items() if name != "rss_mb_by_second"}), flush=True)
        model = service.ask("/ready")[1]["student"]
    return {
        "note": NOTE,
        "cores": cores(),
        "machine": platform.machine(),
        "serve": options,
        "student": model,
        "queries": len(queries),
        "queries_left_out": len(log) - len(queries),
        "queries_left_out_because": "they find nothing, and would ask nothing of the student",
        "zipf": arguments.zipf,
        "deadline_ms": arguments.deadline_ms,
        "seconds_a_level": arguments.seconds,
        "warm_up_s": round(warm_up_s, 1),
        "in_turns": {"clients": CLIENTS, **saturating},
        "levels": levels,
        "memory": memory,
    }


def flatness(noted: list[tuple[float, float]]) -> dict[str, Any]:
    """Return the memory over time, and how much it grew from the second quarter of the time to the last."""
    megabytes = np.array([mb for _, mb in noted])
    quarter = max(1, len(megabytes) // 4)
    early, late = megabytes[quarter : 2 * quarter], megabytes[-quarter:]
    growth = None if len(megabytes) < 4 else round(float(np.median(late) - np.median(early)), 1)
    return {"rss_growth_mb": growth, "rss_most_mb": round(float(megabytes.max()), 1), "rss_mb_by_second": [[at, round(mb, 1)] for at, mb in noted]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for load.json and load.png")
    parser.add_argument("--serve", default="--budget-ms 100 --timeout-ms 1000", help="options of `reranker serve`")
    parser.add_argument("--levels", type=float, nargs="+", default=LEVELS, help="offered load, in multiples of what clients in turns are answered")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each level")
    parser.add_argument("--deadline-ms", type=float, default=1000.0, help="a search answered later is counted as beyond it; as --timeout-ms")
    parser.add_argument("--requests", type=int, default=0, help="then as many more, to watch the memory: 360000 are an hour of 100 a second")
    parser.add_argument("--memory-level", type=float, default=0.8, help="the rate of these, in the same multiples")
    parser.add_argument("--most-warm-up-s", type=float, default=600.0, help="the service first meets each query once, for at most so long")
    parser.add_argument("--zipf", type=float, default=1.0, help="the n-th query of the log is asked as often as 1/n to this power")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        figures = measure(arguments, Path(scratch))
    (arguments.out / "load.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    draw(figures, arguments.out / "load.png")


if __name__ == "__main__":
    main()
