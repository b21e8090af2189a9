"""Offers searches to a service, as many a second as it is told and no fewer when the service is slow; a process of its own.

Reads a job as JSON from its input, and saves what happened to each request as columns of a NumPy archive (see ``Sent``).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import numpy as np

GIVE_UP_S = 30.0
OUTCOMES = ("reranked", "bm25 order", "nothing found", "refused", "failed")


class Sent(NamedTuple):
    """A column each, (n,). ``scheduled``: when the request should have been sent, in seconds after the first; ``sent``: when it was; ``done``: when its
    answer was read; ``outcome``: index into ``OUTCOMES``."""

    scheduled: np.ndarray
    sent: np.ndarray
    done: np.ndarray
    outcome: np.ndarray


def outcome_of(status: int, body: bytes) -> int:
    """Return what a search came to, as an index into ``OUTCOMES``; reads no more of the body than it needs, to leave the time to the service."""
    if status != 200:
        return OUTCOMES.index("refused" if status == 503 else "failed")
    if b'"results":[]' in body:
        return OUTCOMES.index("nothing found")
    return OUTCOMES.index("reranked" if b'"reranked":true' in body else "bm25 order")


def schedule(queries: list[str], *, rate: float, requests: int, zipf: float, seed: int) -> tuple[np.ndarray, list[str]]:
    """Return when each request is sent (seconds, Poisson arrivals at ``rate`` a second), and its query: the n-th of them as often as 1/n^``zipf``."""
    random = np.random.default_rng(seed)
    shares = 1.0 / np.arange(1, len(queries) + 1) ** zipf
    asked = random.choice(len(queries), size=requests, p=shares / shares.sum())
    return np.cumsum(random.exponential(1.0 / rate, size=requests)), [queries[i] for i in asked]


async def offer(url: str, times: np.ndarray, queries: list[str]) -> Sent:
    """Send each query at its time, whether or not the earlier ones are answered."""
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
            await asyncio.sleep(max(0.0, wait))  # also 0: answers are read meanwhile
            task = asyncio.create_task(ask(i))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
    return Sent(times, sent, done, outcome)


async def in_turns(url: str, queries: list[str], clients: int, seconds: float) -> Sent:
    """Let so many clients send one query after the other, each when the one before is answered: the most that the service does without a queue."""
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
