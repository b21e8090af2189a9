"""Sends searches to a service at a fixed rate, whether or not the service keeps up; runs in its own process.

Reads a job as JSON from stdin, and saves the outcome of each request as columns of a NumPy archive (see ``Sent``).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from benchmarks.load.outcomes import OUTCOMES, Sent, outcome_of

GIVE_UP_S = 30.0


def schedule(queries: list[str], *, rate: float, requests: int, zipf: float, seed: int) -> tuple[np.ndarray, list[str]]:
    """Return the send times (seconds, Poisson arrivals at ``rate`` a second) and the queries: the n-th is drawn in proportion to 1/n^``zipf``."""
    random = np.random.default_rng(seed)
    shares = 1.0 / np.arange(1, len(queries) + 1) ** zipf
    asked = random.choice(len(queries), size=requests, p=shares / shares.sum())
    return np.cumsum(random.exponential(1.0 / rate, size=requests)), [queries[i] for i in asked]


async def offer(url: str, times: np.ndarray, queries: list[str]) -> Sent:
    """Send each query at its time, whether or not earlier ones are answered (open loop)."""
    sent, done, outcome = (np.full(len(times), np.nan) for _ in range(3))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=GIVE_UP_S)) as session:
        began = time.perf_counter()

        async def ask(i: int) -> None:
            sent[i] = time.perf_counter() - began
            outcome[i] = await one(session, url, queries[i])
            done[i] = time.perf_counter() - began

        tasks: set[asyncio.Task[None]] = set()
        for i, at in enumerate(times):
            wait = at - (time.perf_counter() - began)
            await asyncio.sleep(max(0.0, wait))  # sleep(0) too lets responses be read
            task = asyncio.create_task(ask(i))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
    return Sent(times, sent, done, outcome)


async def in_turns(url: str, queries: list[str], clients: int, seconds: float) -> Sent:
    """Run clients that send their next query when the previous one is answered (closed loop): the service's throughput without a queue."""
    rows: list[tuple[float, float, int]] = []
    numbers = count()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=GIVE_UP_S)) as session:
        began = time.perf_counter()

        async def client() -> None:
            while (sent := time.perf_counter() - began) < seconds and (i := next(numbers)) < len(queries):
                outcome = await one(session, url, queries[i])
                rows.append((sent, time.perf_counter() - began, outcome))

        await asyncio.gather(*(client() for _ in range(clients)))
    sent, done, outcome = (np.array(column) for column in zip(*rows, strict=True))
    return Sent(sent, sent, done, outcome)


async def one(session: aiohttp.ClientSession, url: str, query: str) -> int:
    try:
        async with session.get(f"{url}/search", params={"q": query}) as answer:
            return outcome_of(answer.status, await answer.read())
    except (aiohttp.ClientError, TimeoutError):
        return OUTCOMES.index("failed")


def main() -> None:
    job: dict[str, Any] = json.load(sys.stdin)
    if "clients" in job:
        sent = asyncio.run(in_turns(job["url"], job["queries"], job["clients"], job["seconds"]))
    else:
        times, queries = schedule(job["queries"], rate=job["rate"], requests=job["requests"], zipf=job["zipf"], seed=job["seed"])
        sent = asyncio.run(offer(job["url"], times, queries))
    np.savez(Path(job["out"]), **sent._asdict())


if __name__ == "__main__":
    main()
