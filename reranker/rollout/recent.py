"""The latest requests, which warm up a new bundle."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from reranker.products import Product

Asked = tuple[str, Sequence[Product | str]]


class Recent:
    """Queries with their products, limited to ``max_products`` products in total. Thread-safe."""

    def __init__(self, max_products: int = 2_000) -> None:
        self._max = max_products
        self._asked: deque[Asked] = deque()
        self._products = 0
        self._lock = threading.Lock()

    def add(self, query: str, products: Sequence[Product | str]) -> None:
        with self._lock:
            self._asked.append((query, products))
            self._products += len(products)
            while self._products > self._max:
                self._products -= len(self._asked.popleft()[1])

    def newest_first(self) -> list[Asked]:
        with self._lock:
            return list(reversed(self._asked))
