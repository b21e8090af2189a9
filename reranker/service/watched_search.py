"""A search that another thread can end early, with BM25 order, if the student is late."""

from __future__ import annotations

import time
from typing import Any

from reranker.search import Found, SearchResponse, TwoStageSearch

_LOOK_AGAIN_S = 0.01


class WatchedSearch:
    """A search in a worker thread. The hits are stored here before the student is asked, so that the watcher can return them.

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
        return self._found.in_bm25_order(self._late)
