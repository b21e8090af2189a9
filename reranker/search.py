"""Two-stage search: BM25 top-k, reordered by the student; a failing or late student leaves BM25 order."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from reranker.errors import InputError
from reranker.first_stage import FirstStage, Hit, check_k, check_query
from reranker.json_text import as_json
from reranker.pace import StudentPace
from reranker.products import Product
from reranker.stored_product import product_as_json

log = logging.getLogger(__name__)

DEFAULT_K = 50
MAX_DEPTH = 10_000

NOT_ASKED_FOR = "not asked for"
WOULD_BE_LATE = "the student would have been late"
TOO_MANY_WAIT = "too many wait for the student"


class Scorer(Protocol):
    """Anything that scores products for a query; ``Reranker`` is one."""

    def score(self, query: str, products: Sequence[Product | str]) -> np.ndarray: ...


def _pinned(scorer: Scorer | None) -> Scorer | None:
    """Return the student of the moment where the scorer can be switched to another: the one that scores is the one named."""
    pin = getattr(scorer, "pin", None)
    return scorer if pin is None else pin()


def _knows(student: Any, query: str, products: Sequence[Product]) -> bool:
    return getattr(student, "keeps_scores", False) and bool(student.knows(query, products))


class Result(NamedTuple):
    """One product of the page. ``student_score`` is None where the student did not score it."""

    rank: int
    product_id: str
    bm25_rank: int
    bm25_score: float
    student_score: float | None
    product: Product

    def place(self) -> dict[str, Any]:
        """Return all but the product, scores rounded."""
        return {
            "rank": self.rank,
            "id": self.product_id,
            "bm25_rank": self.bm25_rank,
            "bm25_score": round(self.bm25_score, 6),
            "student_score": None if self.student_score is None else round(self.student_score, 7),
        }


@dataclass(frozen=True)
class SearchResponse:
    """A page of results, and what happened to it.

    ``fallback_reason`` says why the hits kept BM25 order (None where they were reranked); ``scored`` is
    how many hits the student scored, on this page or not; ``model`` names the student that did
    (None where none did, or it has no name); times are milliseconds per stage.
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
    """What the first stage found, before the student is asked; times on the clock of ``time.perf_counter``."""

    query: str
    hits: list[Hit]
    k: int
    start: int
    size: int
    began: float
    at: float

    def in_bm25_order(self, fallback_reason: str) -> SearchResponse:
        """Return the page as the first stage ordered it, and say why."""
        return self.response(None, fallback_reason)

    def response(self, scores: np.ndarray | None, fallback_reason: str | None, model: str | None = None) -> SearchResponse:
        """Return the page, the first hits in the order of their scores, (n,), where there are any."""
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
        first_stage: where hits come from.
        reranker: the student; None searches with BM25 alone.
        k: how many hits the student reorders (1 to 1,000).
        budget_ms: what the rerank stage may take, with what the search waited before it began; a later answer is dropped and
            BM25 order stands. A student that by its latest times would be late is not asked.
        why_no_reranker: said in each response where ``reranker`` is None.
        workers: how many rerank stages with a budget may run at once; further ones wait, within their budget.
    """

    def __init__(
        self,
        first_stage: FirstStage,
        reranker: Scorer | None,
        *,
        k: int = DEFAULT_K,
        budget_ms: float | None = None,
        why_no_reranker: str = "no student is loaded",
        workers: int = 2,
    ) -> None:
        self.first_stage = first_stage
        self.reranker = reranker
        self.k = check_k(k)
        self.budget_ms = budget_ms
        self.why_no_reranker = why_no_reranker
        self.pace = StudentPace()
        self._workers = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="rerank")

    def search(
        self, query: str, *, size: int = 10, start: int = 0, k: int | None = None, rerank: bool = True, until: float | None = None, waited_s: float = 0.0
    ) -> SearchResponse:
        """Return results ``start`` to ``start + size`` of the query.

        Args:
            query: what the shopper typed.
            size: results on the page.
            start: results before the page.
            k: how many hits the student reorders; None for those of this search.
            rerank: False leaves BM25 order.
            until: when the student must be done whatever its budget, on the clock of ``time.perf_counter``; BM25 order stands after it.
            waited_s: seconds of the budget that are gone already.

        Raises:
            InputError: the query is empty or too long, or k, size or start is out of range.
            FirstStageError: the first stage cannot answer; the student's failures never raise.
        """
        found = self.find(query, size=size, start=start, k=k, rerank=rerank)
        return self.rerank(found, until=until, waited_s=waited_s) if rerank else found.in_bm25_order(NOT_ASKED_FOR)

    def find(self, query: str, *, size: int = 10, start: int = 0, k: int | None = None, rerank: bool = True) -> Found:
        """Ask the first stage for what ``rerank`` needs, or only for the page; arguments and errors as ``search``."""
        began = time.perf_counter()
        query = check_query(query)
        k = check_k(self.k if k is None else k)
        if size < 1 or start < 0 or start + size > MAX_DEPTH:
            raise InputError(f"Results {start:,} to {start + size:,} were asked for.", hint=f"size is at least 1, and start + size at most {MAX_DEPTH:,}.")
        hits = self.first_stage.search(query, max(k, start + size) if rerank else start + size)
        return Found(query, hits, k, start, size, began, time.perf_counter())

    def rerank(self, found: Found, *, until: float | None = None, waited_s: float = 0.0, watched: bool = False) -> SearchResponse:
        """Ask the student for its order of what was found; never raises.

        Args:
            found: what ``find`` returned.
            until: as ``search``'s.
            waited_s: as ``search``'s.
            watched: the caller gives up by itself when ``time_for_student`` is over. The student then works in the caller's thread.
        """
        student = _pinned(self.reranker)
        scores, fallback_reason = self._score(student, found.query, found.hits[: found.k], until, waited_s, watched)
        return found.response(scores, fallback_reason, getattr(student, "model", None))

    def search_without_student(self, query: str, *, fallback_reason: str, k: int | None = None, **options: Any) -> SearchResponse:
        """Return BM25 order and why, with only the work that it takes; the student's order where its scores are kept. Arguments and errors as ``search``."""
        student = _pinned(self.reranker)
        if not getattr(student, "keeps_scores", False):
            return self.find(query, k=k, rerank=False, **options).in_bm25_order(fallback_reason)
        found = self.find(query, k=k, **options)
        known = _knows(student, found.query, [hit.product for hit in found.hits[: found.k]])
        return self.rerank(found) if known else found.in_bm25_order(fallback_reason)

    def slack_s(self, k: int | None = None, until: float | None = None, *, waited_s: float = 0.0) -> float | None:
        """Return how many seconds a search may wait before its student, by its latest times, would be late; None for any. Below 0 it would be late at once."""
        time_s, _ = self.time_for_student(until, waited_s)
        if time_s is None or self.reranker is None:
            return None
        return time_s - min(self.pace.expected_s(), self.pace.expected_s(self.k if k is None else k))  # most searches find fewer than k

    def _score(
        self, student: Scorer | None, query: str, hits: list[Hit], until: float | None, waited_s: float, watched: bool
    ) -> tuple[np.ndarray | None, str | None]:
        if student is None:
            return None, self.why_no_reranker
        if not hits:
            return None, "the first stage found nothing"
        products = [hit.product for hit in hits]
        known = _knows(student, query, products)
        time_s, late = self.time_for_student(until, waited_s)
        if not known and time_s is not None and (time_s <= 0 or self.pace.expected_s(len(products)) > time_s):
            return None, WOULD_BE_LATE
        try:
            if known:
                scores = student.score(query, products)
            elif time_s is None or watched:
                scores = self._measured(student, query, products)
            else:
                answer = self._workers.submit(copy_context().run, self._measured, student, query, products)
                try:
                    scores = answer.result(time_s)
                finally:
                    answer.cancel()  # one that has not begun would keep later queries waiting for nothing
        except FutureTimeout:
            return None, late
        except Exception as error:  # whatever the student does, the shopper gets BM25 order
            log.exception("the student failed")
            return None, f"the student failed: {type(error).__name__}"
        scores = np.asarray(scores, dtype=np.float32)
        if scores.shape != (len(hits),) or not np.isfinite(scores).all():
            return None, "the student gave unusable scores"
        return scores, None

    def _measured(self, student: Scorer, query: str, products: Sequence[Product]) -> np.ndarray:
        with self.pace.measured(student, len(products)):
            return student.score(query, products)

    def time_for_student(self, until: float | None, waited_s: float) -> tuple[float | None, str]:
        """Return the seconds that the student has from now, None for any; and what is said when they are over. Arguments as ``search``'s."""
        budget_s = None if self.budget_ms is None else self.budget_ms / 1e3 - waited_s
        left_s = None if until is None else until - time.perf_counter()
        if left_s is not None and (budget_s is None or left_s < budget_s):
            return left_s, "the request's time was up before the student was done"
        return budget_s, f"the student took longer than its {self.budget_ms:g} ms" if self.budget_ms is not None else ""

    def close(self) -> None:
        """Release the first stage; a student still at work is not waited for."""
        self._workers.shutdown(wait=False, cancel_futures=True)
        self.first_stage.close()
