"""Two-stage search: the student reranks BM25's top k. If it fails or misses its deadline, BM25 order is returned."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from reranker.errors import InputError
from reranker.first_stage import MAX_K, FirstStage, Hit, check_k, check_query, written
from reranker.lazy_product import as_json, product_as_json
from reranker.products import Product
from reranker.scorer import Scorer
from reranker.time_estimate import RerankTimeEstimate

log = logging.getLogger(__name__)

DEFAULT_K = 50
MAX_DEPTH = 10_000

NOT_ASKED_FOR = "not asked for"
WOULD_BE_LATE = "the student would have been late"
TOO_MANY_WAIT = "too many wait for the student"


class Result(NamedTuple):
    """One product of a page. ``student_score`` is None if the student did not score it."""

    rank: int
    product_id: str
    bm25_rank: int
    bm25_score: float
    student_score: float | None
    product: Product

    def place(self) -> dict[str, Any]:
        """Return everything but the product, scores rounded."""
        return {
            "rank": self.rank,
            "id": self.product_id,
            "bm25_rank": self.bm25_rank,
            "bm25_score": round(self.bm25_score, 6),
            "student_score": None if self.student_score is None else round(self.student_score, 7),
        }


@dataclass(frozen=True)
class SearchResponse:
    """A page of results.

    ``fallback_reason``: why the hits are in BM25 order; None if they were reranked.
    ``took_ms``: milliseconds per stage.
    ``scored``: number of hits that the student scored, on this page or not.
    ``model``: name and version of the student that scored; None if none did.
    """

    query: str
    results: list[Result]
    reranked: bool
    fallback_reason: str | None
    took_ms: dict[str, float] = field(default_factory=dict)
    scored: int = 0
    model: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return what ``--json`` and ``GET /search`` print."""
        return {**self._about(), "results": [{**result.place(), "product": dict(result.product)} for result in self.results]}

    def as_json(self) -> bytes:
        """Return ``as_dict`` as JSON. Products that an index keeps as JSON are neither read nor written anew for it."""
        results = [f'{as_json(result.place())[:-1]},"product":{product_as_json(result.product)}}}' for result in self.results]
        return f'{as_json(self._about())[:-1]},"results":[{",".join(results)}]}}'.encode()

    def _about(self) -> dict[str, Any]:
        return {
            "query": self.query,
            "reranked": self.reranked,
            "fallback_reason": self.fallback_reason,
            "why_not": self.fallback_reason,  # deprecated name, kept for one release
            "scored": self.scored,
            "model": self.model,
            "took_ms": {stage: round(ms, 3) for stage, ms in self.took_ms.items()},
        }


@dataclass(frozen=True)
class Found:
    """What the first stage found, before reranking; times are those of ``time.perf_counter``."""

    query: str
    hits: list[Hit]
    k: int
    start: int
    size: int
    began: float
    at: float

    def response(self, scores: np.ndarray | None, fallback_reason: str | None = None, model: str | None = None) -> SearchResponse:
        """Return the page, its first hits ordered by their scores, (n,); without scores it is in BM25 order, for this reason."""
        order = list(range(len(self.hits)))
        if scores is not None:
            order[: self.k] = np.argsort(-scores, kind="stable").tolist()
        shown = list(enumerate(order, start=1))[self.start : self.start + self.size]
        page = [
            Result(rank, hit.product_id, hit.rank, hit.score, float(scores[i]) if scores is not None and i < len(scores) else None, hit.product)
            for rank, i, hit in ((rank, i, self.hits[i]) for rank, i in shown)
        ]
        done = time.perf_counter()
        took = {"first_stage": (self.at - self.began) * 1e3, "rerank": (done - self.at) * 1e3, "total": (done - self.began) * 1e3}
        if scores is None:
            return SearchResponse(self.query, page, False, fallback_reason, took)
        return SearchResponse(self.query, page, True, None, took, len(scores), model)


class TwoStageSearch:
    """BM25 top-k → rerank → page.

    Args:
        first_stage: finds the hits.
        reranker: the student; None searches with BM25 alone.
        k: number of hits to rerank (1 to 1,000).
        budget_ms: time limit of the rerank stage, including the search's wait before it; after it BM25 order is returned. The student
            is not asked if its recent times predict that it would miss the limit.
        workers: number of rerank stages with a budget that run at the same time; others wait, within their budget.
    """

    def __init__(
        self,
        first_stage: FirstStage,
        reranker: Scorer | None,
        *,
        k: int = DEFAULT_K,
        budget_ms: float | None = None,
        workers: int = 2,
    ) -> None:
        self.first_stage = first_stage
        self.reranker = reranker
        self.k = check_k(k)
        self.budget_ms = budget_ms
        self.rerank_time = RerankTimeEstimate()
        self._workers = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="rerank")

    def search(
        self, query: str, *, size: int = 10, start: int = 0, k: int | None = None, rerank: bool = True, until: float | None = None, waited_s: float = 0.0
    ) -> SearchResponse:
        """Return results ``start`` to ``start + size`` of the query.

        Args:
            query: what the shopper typed.
            size: number of results on the page.
            start: number of results before the page.
            k: number of hits to rerank; None takes this object's ``k``.
            rerank: False returns BM25 order.
            until: deadline of the rerank stage besides its budget, in seconds of ``time.perf_counter``.
            waited_s: seconds of the budget that are spent already.

        Raises:
            InputError: the query is empty or too long, or k, size or start is out of range.
            FirstStageError: the first stage cannot answer. A failure of the student is never raised.
        """
        found = self.find(query, size=size, start=start, k=k, rerank=rerank)
        return self.rerank(found, until=until, waited_s=waited_s) if rerank else found.response(None, NOT_ASKED_FOR)

    def find(self, query: str, *, size: int = 10, start: int = 0, k: int | None = None, rerank: bool = True) -> Found:
        """Get the hits that ``rerank`` needs, or only those of the page. Arguments and errors as in ``search``."""
        began = time.perf_counter()
        query = check_query(query)
        k = check_k(self.k if k is None else k)
        if size < 1 or start < 0 or start + size > MAX_DEPTH:
            raise InputError(
                f"Results {written(start)} to {written(start + size)} were asked for.", hint=f"size is at least 1, and start + size at most {MAX_DEPTH:,}."
            )
        hits = self.first_stage.search(query, max(k, start + size) if rerank else start + size)
        return Found(query, hits, k, start, size, began, time.perf_counter())

    def rerank(self, found: Found, *, until: float | None = None, waited_s: float = 0.0, watched: bool = False) -> SearchResponse:
        """Rerank what ``find`` returned; never raises.

        Args:
            found: what ``find`` returned.
            until: as in ``search``.
            waited_s: as in ``search``.
            watched: the caller enforces ``time_for_student`` itself. The student then runs in the caller's thread.
        """
        student = None if self.reranker is None else self.reranker.pin()
        scores, fallback_reason = self._score(student, found.query, found.hits[: found.k], until, waited_s, watched)
        return found.response(scores, fallback_reason, None if student is None else student.model)

    def slack_s(self, k: int | None = None, until: float | None = None, *, waited_s: float = 0.0) -> float | None:
        """Return how many seconds a search may wait before the student is expected to miss its deadline: below 0 if it is too late, None without one."""
        time_s, _ = self.time_for_student(until, waited_s)
        if time_s is None or self.reranker is None:
            return None
        products = self.k if k is None else max(1, min(k, MAX_K))  # ``find`` refuses others
        return time_s - min(self.rerank_time.expected_s(), self.rerank_time.expected_s(products))  # most searches find fewer than k

    def _score(
        self, student: Scorer | None, query: str, hits: list[Hit], until: float | None, waited_s: float, watched: bool
    ) -> tuple[np.ndarray | None, str | None]:
        if student is None:
            return None, "no student is loaded"
        if not hits:
            return None, "the first stage found nothing"
        products = [hit.product for hit in hits]
        time_s, late = self.time_for_student(until, waited_s)
        if time_s is not None and (time_s <= 0 or self.rerank_time.expected_s(len(products)) > time_s):
            return None, WOULD_BE_LATE
        try:
            if time_s is None or watched:
                scores = self._measured(student, query, products)
            else:
                answer = self._workers.submit(copy_context().run, self._measured, student, query, products)
                try:
                    scores = answer.result(time_s)
                finally:
                    answer.cancel()  # if it has not started, later queries need not wait for it
        except FutureTimeout:
            return None, late
        except Exception as error:  # the shopper gets BM25 order whatever the student does
            log.exception("the student failed")
            return None, f"the student failed: {type(error).__name__}"
        scores = np.asarray(scores, dtype=np.float32)
        if scores.shape != (len(hits),) or not np.isfinite(scores).all():
            return None, "the student gave unusable scores"
        return scores, None

    def _measured(self, student: Scorer, query: str, products: Sequence[Product]) -> np.ndarray:
        with self.rerank_time.measured(student, len(products)):
            return student.score(query, products)

    def time_for_student(self, until: float | None, waited_s: float) -> tuple[float | None, str]:
        """Return the seconds left for the student, None without a limit, and the fallback reason once they are over. Arguments as in ``search``."""
        budget_s = None if self.budget_ms is None else self.budget_ms / 1e3 - waited_s
        left_s = None if until is None else until - time.perf_counter()
        if left_s is not None and (budget_s is None or left_s < budget_s):
            return left_s, "the request's time was up before the student was done"
        return budget_s, f"the student took longer than its {self.budget_ms:g} ms" if self.budget_ms is not None else ""

    def close(self) -> None:
        """Close the first stage. A scoring in progress is not waited for."""
        self._workers.shutdown(wait=False, cancel_futures=True)
        self.first_stage.close()
