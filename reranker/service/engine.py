"""What the endpoints work with: the student and the search, off the event loop, a bounded number at once, measured."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from reranker.errors import FirstStageError, RerankerError
from reranker.first_stage import check_query
from reranker.products import Product
from reranker.search import SearchResponse, TwoStageSearch
from reranker.service.metrics import Metrics
from reranker.student import Reranker

T = TypeVar("T")
DECIMALS = 7  # OpenSearch's Cohere post-processor fails on numbers of more than 18 characters


class Engine:
    """Searching and scoring have threads of their own: a search may itself wait for a rerank request to this service."""

    def __init__(self, reranker: Reranker, searcher: TwoStageSearch | None, *, metrics: Metrics, concurrency: int) -> None:
        self.reranker = reranker
        self.searcher = searcher
        self.metrics = metrics
        self._scoring = ThreadPoolExecutor(concurrency, thread_name_prefix="score")
        self._searching = ThreadPoolExecutor(concurrency, thread_name_prefix="search")

    @property
    def student(self) -> str:
        """Name and version of the bundle."""
        return f"{self.reranker.bundle.manifest.name}@{self.reranker.bundle.version}"

    async def rank(self, query: str, products: Sequence[Product | str], *, raw: bool = False) -> list[tuple[int, float]]:
        """Return (index, rounded score) best first; equal scores keep their order. ``raw`` gives the student's output.

        Raises:
            InputError: the query is empty or too long.
            RerankerError: the student gave a score that is no number.
        """
        scores = await self.scores(query, products, raw=raw)
        if not np.isfinite(scores).all():
            raise RerankerError("The student gave unusable scores.", hint="Check it: reranker bundle verify")
        return [(int(i), round(float(scores[i]), DECIMALS)) for i in np.argsort(-scores, kind="stable")]

    async def scores(self, query: str, products: Sequence[Product | str], *, raw: bool = False) -> np.ndarray:
        """Return a score a product, float32 (n,), in their order; ``raw`` gives the student's output.

        Raises:
            InputError: the query is empty or too long.
        """
        query = check_query(query)
        return await _run(self._scoring, lambda: self._score(query, products, raw))

    def _score(self, query: str, products: Sequence[Product | str], raw: bool) -> np.ndarray:
        began = time.perf_counter()
        if raw:
            scores = self.reranker.logits([(query, self.reranker.template.render(product)) for product in products])
        else:
            scores = self.reranker.score(query, products)
        self.metrics.stage_seconds.labels("rerank").observe(time.perf_counter() - began)
        self.metrics.documents_scored.inc(len(products))
        return scores

    async def search(self, query: str, **options: Any) -> SearchResponse:
        """``TwoStageSearch.search``, measured.

        Raises:
            InputError: as ``TwoStageSearch.search``.
            FirstStageError: there is no first stage, or it does not answer.
        """
        if self.searcher is None:
            raise FirstStageError("This service searches nothing: it was started without a first stage.", hint="Use the rerank endpoints; see /docs.")
        searcher = self.searcher
        response = await _run(self._searching, lambda: searcher.search(query, **options))
        for stage in ("first_stage", "rerank"):
            self.metrics.stage_seconds.labels(stage).observe(response.took_ms[stage] / 1e3)
        self.metrics.documents_scored.inc(response.scored)
        if response.why_not is not None:
            self.metrics.not_reranked.labels(response.why_not).inc()
        return response

    async def count(self) -> int | None:
        """Return how many products can be found, or None where the service has no first stage.

        Raises:
            FirstStageError: it does not answer.
        """
        return None if self.searcher is None else await asyncio.to_thread(self.searcher.first_stage.count)

    def close(self) -> None:
        """Let work in progress finish, then release the first stage."""
        self._scoring.shutdown()
        self._searching.shutdown()
        if self.searcher is not None:
            self.searcher.close()


async def _run(pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(pool, work)
