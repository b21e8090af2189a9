"""``python -m benchmarks soak``: good traffic for a long time, with hostile clients beside it for the middle part.

`reranker serve` on the embedded demo index runs in one process. A second process sends the demo's query log at a steady rate, in an
open loop as `load` does. A third one runs the hostile clients. Memory and connections of the service are read from outside.
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import typer

from benchmarks.load.command import NOTE, answered_queries, generate, log_queries, memory_mb, repeating, warm_up
from benchmarks.load.outcomes import OUTCOMES, Sent
from benchmarks.output import DEFAULT_OUT, Out, output_folder, require, write_result
from reranker.onnx_model import cores
from tests.served import Served, served

CALM = 1 / 6
"""Share of the time before the attack, and after it."""
SAMPLES = 600
_LOOK_EVERY_S = 0.2
MOST_WARM_UP_S = 120.0


class Sample(NamedTuple):
    """The service in the time since the sample before: the most resident memory, and the most open connections (its sockets, less those it started with)."""

    second: float
    rss_mb: float
    connections: int


def sockets(pid: int) -> int:
    """Return how many sockets a process has open."""
    count = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            count += os.readlink(descriptor).startswith("socket:")
        except OSError:
            continue  # closed meanwhile
    return count


@contextmanager
def watching(pid: int, every_s: float) -> Iterator[list[Sample]]:
    """Record samples of a process until the block ends."""
    samples: list[Sample] = []
    began, idle = time.monotonic(), sockets(pid)
    megabytes, connections, due = 0.0, 0, every_s

    def look() -> None:
        nonlocal megabytes, connections, due
        megabytes, connections = max(megabytes, memory_mb(pid)), max(connections, sockets(pid) - idle)
        if (now := time.monotonic() - began) >= due:
            samples.append(Sample(round(now, 1), round(megabytes, 1), connections))
            megabytes, connections, due = 0.0, 0, now + every_s

    with repeating(look, _LOOK_EVERY_S):
        yield samples


def attack(url: str, seconds: float, seed: int) -> dict[str, dict[str, int]]:
    """Run the hostile clients, and return how often each kind came to which outcome."""
    command = [sys.executable, "-m", "benchmarks.soak.hostile_clients"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as clients:
        assert clients.stdin is not None
        parts = urlsplit(url)
        clients.stdin.write(json.dumps({"host": parts.hostname, "port": parts.port, "seed": seed}) + "\n")
        clients.stdin.flush()
        time.sleep(seconds)
        said, _ = clients.communicate()
    outcomes: dict[str, dict[str, int]] = json.loads(said)
    return outcomes


def refusals(service: Served) -> dict[str, float]:
    """Return how many requests the service has refused so far, and how many connections it has closed, by reason."""
    _, text, _ = service.ask("/metrics")
    return {
        reason: float(value)
        for reason, value in re.findall(r'^reranker_(?:refused|connections_closed)_total\{.*?reason="([^"]+)".*?\} (\S+)$', text, re.MULTILINE)
    }


def by_minute(sent: Sent, minutes: float) -> list[dict[str, Any]]:
    """Return each minute's latencies (milliseconds from the scheduled arrival, refusals included) and outcomes; the last may be shorter or longer."""
    latency = (sent.done - sent.scheduled) * 1e3
    minute = np.minimum(sent.scheduled / 60, math.ceil(minutes) - 1).astype(int)
    rows = []
    for number in np.unique(minute):
        chosen = minute == number
        counts = {name: int((sent.outcome[chosen] == i).sum()) for i, name in enumerate(OUTCOMES)}
        percentiles = {f"p{p}_ms": round(float(np.percentile(latency[chosen], p)), 2) for p in (50, 99)}
        rows.append({"minute": int(number), "requests": int(chosen.sum()), **percentiles, "most_ms": round(float(latency[chosen].max()), 1), **counts})
    return rows


def measure(minutes: float, rate: float, serve: list[str], seed: int, scratch: Path) -> dict[str, Any]:
    """Serve, warm up, and send good requests all the time and hostile ones in the middle."""
    seconds = minutes * 60
    queries = answered_queries(log_queries(), scratch)
    with served(scratch, "--threads", str(cores()), *serve) as service:
        warm_up(service, queries, scratch, most_s=min(MOST_WARM_UP_S, seconds / 4))
        pid = service.process.pid
        warm_mb, before = memory_mb(pid), refusals(service)
        with watching(pid, seconds / SAMPLES) as samples, ThreadPoolExecutor(1) as pool:
            job = {"rate": rate, "requests": int(rate * seconds), "zipf": 1.0, "seed": seed}
            good = pool.submit(generate, service.url, queries, scratch, **job)
            time.sleep(seconds * CALM)
            hostile = attack(service.url, seconds * (1 - 2 * CALM), seed)
            sent = good.result()
        after = refusals(service)
        model = service.ask("/ready")[1]["student"]
        log_bytes = service.stderr.stat().st_size
    megabytes = [sample.rss_mb for sample in samples]
    return {
        "note": NOTE,
        "cores": cores(),
        "machine": platform.machine(),
        "serve": serve,
        "student": model,
        "minutes": minutes,
        "good_per_s": rate,
        "attack_from_to_s": [round(seconds * CALM, 1), round(seconds * (1 - CALM), 1)],
        "rss_mb": {"warm": round(warm_mb, 1), "most": max(megabytes), "last": megabytes[-1]},
        "most_connections": max(sample.connections for sample in samples),
        "log_bytes": log_bytes,
        "refused": {reason: int(count - before.get(reason, 0.0)) for reason, count in after.items()},
        "hostile": hostile,
        "by_minute": by_minute(sent, minutes),
        "samples": [list(sample) for sample in samples],
    }


def soak(
    out: Out = DEFAULT_OUT,
    minutes: Annotated[
        float, typer.Option("--minutes", min=0.5, help="Duration; hostile clients come in after a sixth of it, and leave a sixth before its end.")
    ] = 60.0,
    rate: Annotated[float, typer.Option("--rate", min=0.1, help="Good searches a second.")] = 10.0,
    serve: Annotated[str, typer.Option("--serve", metavar="OPTIONS", help="Options of `reranker serve`.")] = "--budget-ms 500",
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
) -> None:
    """Watch memory and latency of the HTTP service over a long time, with hostile clients beside good ones. Writes soak.json and soak.png.

    The hostile clients hold idle connections, send bodies of a byte a second, leave large answers unread, send 31 MB bodies and the
    requests of tests/hostile, and roll out the bundle every minute.
    """
    require("aiohttp", "matplotlib")
    from benchmarks.soak.picture import draw

    folder = output_folder(out)
    with tempfile.TemporaryDirectory() as scratch:
        result = measure(minutes, rate, shlex.split(serve), seed, Path(scratch))
    write_result(folder / "soak.json", result)
    draw(result, folder / "soak.png")
    print(f"Written: {folder / 'soak.json'}, {folder / 'soak.png'}")
