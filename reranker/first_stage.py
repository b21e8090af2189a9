"""The first stage: finds a query's products before the student reranks them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from reranker.errors import InputError
from reranker.products import Product

MAX_QUERY_CHARACTERS = 1_000
MAX_K = 1_000

FIELD_BOOSTS: dict[str, float] = {"title": 3.0, "brand": 2.0, "description": 1.0, "attributes": 0.5}
"""Weight of each field's BM25 score. A product's score is the sum over its fields, in every first stage."""


class Hit(NamedTuple):
    """A product found by the first stage; ``rank`` counts from 1, ``score`` is BM25's."""

    product_id: str
    score: float
    rank: int
    product: Product


@runtime_checkable
class FirstStage(Protocol):
    """BM25 retrieval over one catalogue: the embedded engine, or OpenSearch.

    Every method raises ``FirstStageError`` if the index is missing or cannot be reached.
    """

    name: str

    @property
    def in_process(self) -> bool:
        """Whether it computes in this process without waiting for anything: a service can then call it without a thread."""
        ...

    def search(self, query: str, k: int) -> list[Hit]:
        """Return at most ``k`` hits, best first; equal scores keep the catalogue's order."""
        ...

    def score(self, query: str, product_ids: Sequence[str]) -> dict[str, float]:
        """Return the BM25 score of each of these products: 0.0 if no word matches. Unknown ids are left out."""
        ...

    def get(self, product_ids: Sequence[str]) -> dict[str, Product]:
        """Return the products with these ids; unknown ids are left out."""
        ...

    def count(self) -> int:
        """Return the number of products in the index."""
        ...

    def close(self) -> None: ...


def check_query(query: str) -> str:
    """Return the query with control characters and surplus blanks removed.

    Raises:
        InputError: it is empty, longer than ``MAX_QUERY_CHARACTERS``, or not text.
    """
    if len(query) > MAX_QUERY_CHARACTERS:
        raise InputError(f"The query has {len(query):,} characters.", hint=f"A query has at most {MAX_QUERY_CHARACTERS:,} characters.")
    try:
        query.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"The query is not text: character {error.start + 1:,} is half of a pair (a lone surrogate).", hint="Give text in UTF-8.") from error
    cleaned = " ".join("".join(c if c.isprintable() else " " for c in query).split())
    if not cleaned:
        raise InputError("The query is empty.", hint='Give at least one word, such as "gaming laptop".')
    return cleaned


def check_k(k: int) -> int:
    """Return ``k``, the number of hits to rerank.

    Raises:
        InputError: it is below 1 or above ``MAX_K``.
    """
    if not 1 <= k <= MAX_K:
        raise InputError(f"k is {written(k)}.", hint=f"Rerank between 1 and {MAX_K:,} hits.")
    return k


def written(number: int) -> str:
    """Return a number for a message; a huge one, which may take long to write or cannot be written, only by its size."""
    return f"{number:,}" if abs(number) < 10**18 else "a number of more than 18 digits"


def check_index_name(name: str) -> str:
    """Return ``name``, an index name that every first stage accepts.

    Raises:
        InputError: OpenSearch does not accept it, or it is not a plain folder name.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,199}", name) or ".." in name:
        raise InputError(
            f"{name!r} cannot name an index.", hint="Use up to 200 lower-case letters, digits, '-', '_' and '.', beginning with a letter or digit."
        )
    return name
