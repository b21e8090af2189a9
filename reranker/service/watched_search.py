"""A search in one thread, watched by another that has BM25's order ready when the student is late."""

from __future__ import annotations

import time
from typing import Any

from reranker.search import Found, SearchResponse, TwoStageSearch

_LOOK_AGAIN_S = 0.01


class WatchedSearch:
    """The thread that searches leaves what was found here before it asks the student.

    Args:
        searcher: what searches.
        until: when the student must be done, on the clock of ``time.perf_counter``; None where there is no such time.
        waited_s: seconds of the student's budget that are gone already.
    """

    def __init__(self, searcher: TwoStageSearch, until: float | None, waited_s: float) -> None:
        self._searcher = searcher
        self._until = until
        self._asked = time.perf_counter() - waited_s
        self._found: Found | None = None
        self._late_at: float | None = None
        self._late = ""

    def search(self, query: str, **options: Any) -> SearchResponse:
        """As ``TwoStageSearch.search``; for the thread that works. The student is not stopped when it is late."""
        waited_s = time.perf_counter() - self._asked
        found = self._searcher.find(query, **options)
        time_s, self._late = self._searcher.time_for_student(self._until, waited_s)
        self._late_at = None if time_s is None else time.perf_counter() + time_s
        self._found = found  # last: the watcher looks for it first
        return self._searcher.rerank(found, until=self._until, waited_s=waited_s, watched=True)

    def patience_s(self) -> float | None:
        """Return in how many seconds the student will be late, or whether it is should be looked at again; None for never."""
        now = time.perf_counter()
        if self._found is not None:
            return None if self._late_at is None else self._late_at - now
        time_s, _ = self._searcher.time_for_student(self._until, now - self._asked)
        return None if time_s is None else max(time_s, _LOOK_AGAIN_S)

    def in_bm25_order(self) -> SearchResponse:
        """Return what was found as it was found; for the watcher, when its patience has ended."""
        assert self._found is not None
        return self._found.in_bm25_order(self._late)
