"""Limits of one request, of all requests together, and of connections."""

from __future__ import annotations

from typing import NamedTuple

from reranker.errors import InputError
from reranker.service.models import MAX_DOCUMENTS

DEFAULT_MEMORY = 512 * 1024 * 1024
MIN_BYTES_PER_S = 8 * 1024
OPEN = frozenset({"/health", "/ready", "/metrics"})
"""Paths that need no API key, and are answered however busy the service is."""


class MemoryBudget(NamedTuple):
    """Bytes that the service may take besides the models and the index, in four shares."""

    total: int = DEFAULT_MEMORY

    @property
    def bodies(self) -> int:
        """For request bodies and the work on them."""
        return self.total * 10 // 16

    @property
    def students(self) -> int:
        """For the students' caches."""
        return self.total * 3 // 16

    @property
    def products(self) -> int:
        """For the embedded index's cache of products."""
        return self.total // 16

    @property
    def answers(self) -> int:
        """For answers that clients have not read yet."""
        return self.total * 2 // 16


class Limits(NamedTuple):
    """The service's limits.

    ``max_body_bytes``: larger request bodies get 413.
    ``max_documents``: rerank requests with more documents get 422.
    ``concurrency``: how many scorings, and how many searches, run at once.
    ``max_waiting``: how many further scorings, and searches, may wait. Further scorings get 503 at once. Further searches get BM25
    order; the same two limits hold for these, and those beyond get 503.
    ``timeout_ms``: time-out of a request. Later it gets 503, or 408 if its body has not arrived.
    ``memory_bytes``: memory for bodies, caches and unread answers; see ``MemoryBudget``.
    ``max_connections``: open connections; lowered to what the system allows. ``max_connections_per_client``: those of one address.
    A new connection beyond them takes the place of the one that has waited longest for its client.
    ``client_timeout_s``: seconds in which a request's header must be complete, and in which a client must read some of its answer.
    A body that takes longer must arrive at ``MIN_BYTES_PER_S``.
    """

    max_body_bytes: int = 32 * 1024 * 1024
    max_documents: int = MAX_DOCUMENTS
    concurrency: int = 4
    max_waiting: int = 100
    timeout_ms: float = 30_000
    memory_bytes: int = DEFAULT_MEMORY
    max_connections: int = 1_000
    max_connections_per_client: int = 500
    client_timeout_s: float = 10

    @property
    def memory(self) -> MemoryBudget:
        return MemoryBudget(self.memory_bytes)

    def check_documents(self, count: int) -> None:
        """Raise InputError if one request has too many documents."""
        if count > self.max_documents:
            raise InputError(f"The request has {count:,} documents; at most {self.max_documents:,} are allowed.", hint="Split them over several requests.")


DEFAULT_LIMITS = Limits()
