"""Runs scoring and searching for the endpoints: in threads, with limits and metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import numpy as np

from reranker.errors import BusyError, FirstStageError, NoTimeError, OverloadError, RerankerError
from reranker.first_stage import check_query
from reranker.products import Product
from reranker.reranker import Reranker
from reranker.rollout import Rollout
from reranker.search import NOT_ASKED_FOR, TOO_MANY_WAIT, WOULD_BE_LATE, Found, SearchResponse, TwoStageSearch
from reranker.service.bodies import body_length
from reranker.service.deadline import LoopLag, seconds_left
from reranker.service.limits import Limits
from reranker.service.metrics import Metrics
from reranker.service.work_queue import CallerGaveUp, WorkQueue
from reranker.time_estimate import RerankTimeEstimate, TimeEstimate

DECIMALS = 7  # OpenSearch's Cohere post-processor fails on numbers of more than 18 characters
_FOR_THE_PAGE_S = 0.1
"""Time kept back for making and sending the page."""
QUICK_S = 1e-3
"""A BM25 search of at most so many processor seconds runs on the event loop: under load, waiting for a thread costs more."""
SMALL_BODY = 128 * 1024
"""A body of at most so many bytes is parsed on the event loop: that takes a few milliseconds at most, and a change of threads costs about one."""
_LOOK_AGAIN_S = 0.01
T = TypeVar("T")


class Ranking(NamedTuple):
    """``best_first``: (index, rounded score). ``model``: name and version of the student that scored."""

    best_first: list[tuple[int, float]]
    model: str


class Engine:
    """Scores and searches within the limits: documents per request, running and waiting work, and the request's deadline.

    There are four thread pools. Parsing is separate because it must not wait for the student. Searching and scoring are separate
    because a search may itself wait for a rerank request to this service. Searches in BM25 order are separate so that they never
    wait for reranked ones; if the first stage runs in this process and is quick (``QUICK_S``), they need no thread.
    """

    def __init__(self, student: Reranker | Rollout, searcher: TwoStageSearch | None, *, metrics: Metrics, limits: Limits) -> None:
        self.student = student
        self.searcher = searcher
        self.metrics = metrics
        self.limits = limits
        self._scoring = self._queue("rerank")
        self._searching = self._queue("search")
        self._in_bm25_order = self._queue("bm25")
        self._parsing = self._queue("parse")
        self._rerank_time = RerankTimeEstimate()
        self._bm25_time = TimeEstimate()  # of the processor: a thread's wait for its turn says nothing of the search
        self.lag = LoopLag()
        metrics.loop_lag.set_function(lambda: self.lag.seconds)

    def _queue(self, stage: str) -> WorkQueue:
        queue = WorkQueue(stage, concurrency=self.limits.concurrency, max_waiting=self.limits.max_waiting)
        self.metrics.waiting.labels(stage).set_function(queue.waiting)
        self.metrics.expected_wait.labels(stage).set_function(queue.expected_wait_s)
        return queue

    async def rank(self, query: str, products: Sequence[Product | str], *, raw: bool = False) -> Ranking:
        """Rank products; equal scores keep their order. ``raw`` gives the student's raw output instead of relevance.

        Raises:
            InputError: the query is empty or too long, or there are too many products.
            BusyError: too many requests are waiting.
            NoTimeError: it is not expected to be done before the request's deadline.
            LateError: the deadline has passed.
            RerankerError: a score is not a finite number.
        """
        with self._counting_refusals():
            scores, model = await self.scores(query, products, raw=raw)
        if not np.isfinite(scores).all():
            raise RerankerError("The student gave unusable scores.", hint="Check it: reranker bundle verify")
        return Ranking([(int(i), round(float(scores[i]), DECIMALS)) for i in np.argsort(-scores, kind="stable")], model)

    async def scores(self, query: str, products: Sequence[Product | str], *, raw: bool = False, within_s: float | None = None) -> tuple[np.ndarray, str]:
        """Return one score per product, float32 (n,), in their order, and the student's name and version.

        Args:
            query: what the shopper typed.
            products: what to score.
            raw: return the student's raw output.
            within_s: seconds in which scoring must be expected to end, if fewer than until the request's deadline.

        Raises:
            InputError: the query is empty or too long, or there are too many products.
            BusyError: too many requests are waiting.
            NoTimeError: it is not expected to be done in time; the student was not asked.
            LateError: the deadline has passed.
        """
        query = check_query(query)
        count = len(products)
        self.limits.check_documents(count)
        takes_s = self._rerank_time.expected_s(count) + self.lag.both_ways_s()
        return await self._scoring.run(lambda: self._score(query, products, raw), size=count, takes_s=takes_s, within_s=within_s)

    @contextmanager
    def _counting_refusals(self) -> Iterator[None]:
        try:
            yield
        except OverloadError as error:
            self.metrics.refused.labels(error.reason).inc()
            raise

    def _score(self, query: str, products: Sequence[Product | str], raw: bool) -> tuple[np.ndarray, str]:
        began = time.perf_counter()
        student = self.student.pin()
        with self._rerank_time.measured(student, len(products)):
            scores = student.raw_scores(query, products) if raw else student.score(query, products)
        self.metrics.stage_seconds.labels("rerank").observe(time.perf_counter() - began)
        self.metrics.documents_scored.inc(len(products))
        return scores, student.model

    async def off_loop(self, work: Callable[[], T]) -> T:
        """Run work whose time grows with the request's body: in a thread if the body is large, at once if it is small.

        Raises:
            OverloadError: there is no time for it, or too much waits.
        """
        if body_length.get() <= SMALL_BODY:
            return work()
        with self._counting_refusals():
            return await self._parsing.run(work, size=body_length.get())

    async def search(self, query: str, *, k: int | None = None, rerank: bool = True, **options: Any) -> SearchResponse:
        """Run ``TwoStageSearch.search`` and record metrics. Returns BM25 order at once if the student is overloaded or would be late.

        Raises:
            InputError: as ``TwoStageSearch.search``.
            FirstStageError: there is no first stage, or it does not answer.
            BusyError: too many requests wait even for BM25 order.
            NoTimeError: even BM25 order would not be ready by the request's deadline.
            LateError: the deadline has passed; if only the student is late, BM25 order is returned.
        """
        if self.searcher is None:
            raise FirstStageError("This service was started without a first stage, so it cannot search.", hint="Use the rerank endpoints; see /docs.")
        searcher = self.searcher
        left_s = seconds_left()
        until = None if left_s is None else time.perf_counter() + left_s - min(_FOR_THE_PAGE_S, 0.2 * left_s)
        behind_s = self.lag.both_ways_s()
        slack_s = searcher.slack_s(k, until, waited_s=behind_s)
        fallback_reason = WOULD_BE_LATE
        response: SearchResponse | None = None
        with self._counting_refusals():
            if rerank and (slack_s is None or self._searching.expected_wait_s() <= slack_s):
                watched = _WatchedSearch(searcher, until, behind_s)
                try:
                    response = await self._searching.run(lambda: watched.search(query, k=k, **options), begin_within_s=slack_s, give_up_in_s=watched.late_in_s)
                except CallerGaveUp:
                    response = watched.in_bm25_order()
                except NoTimeError:
                    pass  # the student would be late
                except BusyError:
                    fallback_reason = TOO_MANY_WAIT
            if response is None:
                reason = fallback_reason if rerank else NOT_ASKED_FOR
                response = await self._without_student(searcher, lambda: searcher.find(query, k=k, rerank=False, **options).response(None, reason))
        for stage in ("first_stage", "rerank"):
            self.metrics.stage_seconds.labels(stage).observe(response.took_ms[stage] / 1e3)
        self.metrics.documents_scored.inc(response.scored)
        if response.fallback_reason is not None:
            self.metrics.not_reranked.labels(response.fallback_reason).inc()
        return response

    async def _without_student(self, searcher: TwoStageSearch, search: Callable[[], SearchResponse]) -> SearchResponse:
        """Search on the event loop if that is known to be quick, else in a thread."""

        def measured() -> SearchResponse:
            began = time.thread_time()
            response = search()
            self._bm25_time.observe(time.thread_time() - began)
            return response

        left_s = seconds_left()
        quick = searcher.first_stage.in_process and 0 < self._bm25_time.expected_s() <= QUICK_S
        if quick and (left_s is None or left_s > 0):
            return measured()
        return await self._in_bm25_order.run(measured)

    def close(self) -> None:
        """Wait for running work, then release the first stage."""
        self._scoring.close()
        self._searching.close()
        self._in_bm25_order.close()
        self._parsing.close()
        if self.searcher is not None:
            self.searcher.close()


class _WatchedSearch:
    """A search in a worker thread that the event loop can end early, with BM25 order, if the student is late.

    The hits are stored here before the student is asked.

    Args:
        searcher: the two-stage search.
        until: the student's deadline on the clock of ``time.perf_counter``; None for no deadline.
        waited_s: seconds of the student's budget that are already used.
    """

    def __init__(self, searcher: TwoStageSearch, until: float | None, waited_s: float) -> None:
        self._searcher = searcher
        self._until = until
        self._asked = time.perf_counter() - waited_s
        self._found: Found | None = None
        self._late_at: float | None = None
        self._late = ""

    def search(self, query: str, **options: Any) -> SearchResponse:
        """Run ``TwoStageSearch.search`` in the worker thread. A late student is not stopped."""
        waited_s = time.perf_counter() - self._asked
        found = self._searcher.find(query, **options)
        time_s, self._late = self._searcher.time_for_student(self._until, waited_s)
        self._late_at = None if time_s is None else time.perf_counter() + time_s
        self._found = found  # set last: the watcher checks it first
        return self._searcher.rerank(found, until=self._until, waited_s=waited_s, watched=True)

    def late_in_s(self) -> float | None:
        """Return the seconds until the student is late, or until this should be called again; None for never."""
        now = time.perf_counter()
        if self._found is not None:
            return None if self._late_at is None else self._late_at - now
        time_s, _ = self._searcher.time_for_student(self._until, now - self._asked)
        return None if time_s is None else max(time_s, _LOOK_AGAIN_S)

    def in_bm25_order(self) -> SearchResponse:
        """Return the hits in BM25 order; for the watcher, once the student is late."""
        assert self._found is not None
        return self._found.response(None, self._late)
