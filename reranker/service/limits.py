"""Limits of one request, and of all requests together."""

from __future__ import annotations

from typing import NamedTuple

from reranker.errors import InputError
from reranker.service.requests import MAX_DOCUMENTS


class Limits(NamedTuple):
    """The service's limits.

    ``max_body_bytes``: larger request bodies get 413.
    ``max_documents``: rerank requests with more documents get 422.
    ``concurrency``: how many scorings, and how many searches, run at once.
    ``max_waiting``: how many further scorings, and searches, may wait. Further scorings get 503 at once. Further searches get BM25
    order; the same two limits hold for these, and those beyond get 503.
    ``timeout_ms``: time-out of a request. Later it gets 503, or 408 if its body has not arrived.
    """

    max_body_bytes: int = 32 * 1024 * 1024
    max_documents: int = MAX_DOCUMENTS
    concurrency: int = 4
    max_waiting: int = 100
    timeout_ms: float = 30_000

    def check_documents(self, count: int) -> None:
        """Raise InputError if one request has too many documents."""
        if count > self.max_documents:
            raise InputError(f"The request has {count:,} documents; at most {self.max_documents:,} are allowed.", hint="Split them over several requests.")


DEFAULT_LIMITS = Limits()
