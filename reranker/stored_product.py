"""Products as an index keeps them: JSON text, read only when somebody looks into it, and given out as it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from reranker.json_text import as_json


class KeptProduct:
    """What is kept in memory of a product in an index: its id, its JSON, and the text that a template last made of it."""

    __slots__ = ("id", "json", "text")

    def __init__(self, text: str) -> None:
        self.id = str(json.loads(text)["id"])
        self.json = text
        self.text: tuple[object, str] | None = None


class StoredProduct(Mapping[str, Any]):
    """A kept product as a hit shows it: equal to the dict it was stored from. What is read of it lives as long as the hit."""

    __slots__ = ("_read", "kept")

    def __init__(self, kept: KeptProduct) -> None:
        self.kept = kept
        self._read: dict[str, Any] | None = None

    def _fields(self) -> dict[str, Any]:
        if self._read is None:
            self._read = json.loads(self.kept.json)
        return self._read

    def __getitem__(self, name: str) -> Any:
        return self._fields()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields())

    def __len__(self) -> int:
        return len(self._fields())

    def __repr__(self) -> str:
        return repr(self._fields())


def product_as_json(product: Mapping[str, Any]) -> str:
    """Return a product's JSON; that of a kept one is not made again."""
    return product.kept.json if isinstance(product, StoredProduct) else as_json(dict(product))
