"""Runs infinity-emb in a separate interpreter: JSON lines in, JSON lines out. Imports nothing of this project.

    python infinity_worker.py FOLDER ENGINE THREADS

Writes ``{"ready": true}`` once it can answer. Each line ``{"query": …, "texts": […]}`` is answered with
``{"scores": […], "seconds": …, "cpu_seconds": …}``: scores in the order of the texts, and the time of the reranking alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any


async def answer(folder: str, name: str, say: Any) -> None:
    from infinity_emb import AsyncEmbeddingEngine, EngineArgs

    arguments = EngineArgs(model_name_or_path=folder, engine=name, device="cpu", model_warmup=False, bettertransformer=False)  # type: ignore[arg-type]
    engine = AsyncEmbeddingEngine.from_args(arguments)
    async with engine:
        say({"ready": True})
        while line := await asyncio.to_thread(sys.stdin.readline):
            asked = json.loads(line)
            began, cpu = time.perf_counter(), time.process_time()
            ranked, _ = await engine.rerank(query=asked["query"], docs=asked["texts"], raw_scores=True)
            scores = [0.0] * len(asked["texts"])
            for result in ranked:
                scores[result.index] = float(result.relevance_score)
            took, cpu = time.perf_counter() - began, time.process_time() - cpu
            say({"scores": scores, "seconds": took, "cpu_seconds": cpu})


def main() -> None:
    folder, name, threads = sys.argv[1:4]
    os.environ.setdefault("OMP_NUM_THREADS", threads)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("INFINITY_ANONYMOUS_USAGE_STATS", "0")
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # the library's output must not mix with the answers

    def say(value: dict[str, Any]) -> None:
        out.write(json.dumps(value) + "\n")
        out.flush()

    try:
        asyncio.run(answer(folder, name, say))
    except Exception as error:  # any type; the benchmark reports the system as left out
        say({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
