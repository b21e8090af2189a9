"""A first stage that is opened at first use: OpenSearch often starts after the service."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from reranker.cache import CacheState
from reranker.errors import FirstStageError
from reranker.first_stage import FirstStage, Hit
from reranker.products import Product


class LateFirstStage:
    """A ``FirstStage`` opened at first use. If that fails, each later use tries again.

    Args:
        name: its name until it is open.
        open_it: opens the real first stage, or raises ``FirstStageError``.
        retry_s: for so many seconds after a failure the same error is raised without a new attempt, so that
            searches do not queue up behind a cluster that does not answer.
    """

    def __init__(self, name: str, open_it: Callable[[], FirstStage], *, retry_s: float = 2.0) -> None:
        self.name = name
        self.retry_s = retry_s
        self._open_it = open_it
        self._failed: tuple[float, FirstStageError] | None = None
        self._opened: FirstStage | None = None
        self._lock = threading.Lock()

    @property
    def in_process(self) -> bool:
        """As the first stage that is opened; False until then."""
        return self._opened is not None and self._opened.in_process

    def open(self) -> FirstStage:
        """Return the real first stage.

        Raises:
            FirstStageError: it cannot be opened.
        """
        with self._lock:
            if self._opened is None:
                if self._failed is not None and time.monotonic() - self._failed[0] < self.retry_s:
                    raise self._failed[1].with_traceback(None)
                try:
                    self._opened = self._open_it()
                except FirstStageError as error:
                    self._failed = (time.monotonic(), error)
                    raise
                self.name = self._opened.name
            return self._opened

    def search(self, query: str, k: int) -> list[Hit]:
        return self.open().search(query, k)

    def score(self, query: str, product_ids: Sequence[str]) -> dict[str, float]:
        return self.open().score(query, product_ids)

    def get(self, product_ids: Sequence[str]) -> dict[str, Product]:
        return self.open().get(product_ids)

    def count(self) -> int:
        return self.open().count()

    def cache_state(self) -> CacheState | None:
        """Return the state of the cache of products; None until an index is open, or if the first stage has none."""
        state: Callable[[], CacheState] | None = getattr(self._opened, "cache_state", None)
        return None if state is None else state()

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
