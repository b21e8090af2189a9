"""Products from an embedded index: JSON text that is parsed only when a field is read."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

as_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
"""Return a value as compact JSON. Raises ValueError for NaN and infinity."""


class IndexedProduct:
    """A product of an index as it is cached: its id, its JSON with the bytes that takes in memory, and its text by the last template."""

    __slots__ = ("bytes", "id", "json", "text")

    def __init__(self, text: str) -> None:
        self.id = str(json.loads(text)["id"])
        self.json = text
        self.bytes = sys.getsizeof(text)
        self.text: tuple[object, str] | None = None


class LazyProduct(Mapping[str, Any]):
    """An indexed product as a mapping, equal to the dict it was indexed from. The parsed fields live as long as this object."""

    __slots__ = ("_parsed", "indexed")

    def __init__(self, indexed: IndexedProduct) -> None:
        self.indexed = indexed
        self._parsed: dict[str, Any] | None = None

    def _fields(self) -> dict[str, Any]:
        if self._parsed is None:
            self._parsed = json.loads(self.indexed.json)
        return self._parsed

    def __getitem__(self, name: str) -> Any:
        return self._fields()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields())

    def __len__(self) -> int:
        return len(self._fields())

    def __repr__(self) -> str:
        return repr(self._fields())


def product_as_json(product: Mapping[str, Any]) -> str:
    """Return a product's JSON; an indexed product's stored text is reused."""
    return product.indexed.json if isinstance(product, LazyProduct) else as_json(dict(product))
