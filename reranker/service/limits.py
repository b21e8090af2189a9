"""How much the service takes on: of one request, and of many at once."""

from __future__ import annotations

from typing import NamedTuple

from reranker.errors import InputError
from reranker.service.requests import MAX_DOCUMENTS


class Limits(NamedTuple):
    """What is refused, and when.

    ``max_body_bytes``: a larger request body is answered with 413.
    ``max_documents``: more documents in one rerank request are answered with 422.
    ``concurrency``: how many scorings, and how many searches, run at once.
    ``max_waiting``: how many further scorings, and searches, may wait. More scorings are answered with 503 at once, more searches
    in BM25 order; of these too, so many may run and wait, and only further ones are answered with 503.
    ``timeout_ms``: a request not done by then is answered with 503 (408 where its body had not arrived).
    """

    max_body_bytes: int = 32 * 1024 * 1024
    max_documents: int = MAX_DOCUMENTS
    concurrency: int = 4
    max_waiting: int = 100
    timeout_ms: float = 30_000

    def check_documents(self, count: int) -> None:
        """Raise InputError where one request has too many documents."""
        if count > self.max_documents:
            raise InputError(f"{count:,} documents were sent; this service takes {self.max_documents:,} at most.", hint="Send fewer, in several requests.")


DEFAULT_LIMITS = Limits()
