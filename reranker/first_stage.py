"""The first stage: what finds products for a query before the student reorders them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from reranker.errors import InputError
from reranker.products import Product

MAX_QUERY_CHARACTERS = 1_000
MAX_K = 1_000

FIELD_BOOSTS: dict[str, float] = {"title": 3.0, "brand": 2.0, "description": 1.0, "attributes": 0.5}
"""Weight of each field's BM25 score; a product's score is the sum over fields, in every first stage."""


class Hit(NamedTuple):
    """A product found by the first stage; ``rank`` counts from 1, ``score`` is BM25's."""

    product_id: str
    score: float
    rank: int
    product: Product


@runtime_checkable
class FirstStage(Protocol):
    """BM25 retrieval over one catalogue: the embedded engine, or OpenSearch.

    Every method raises ``FirstStageError`` where the index is missing or cannot be reached. One that computes in this process, and
    waits for nobody, says so with ``in_process = True``: a service may then ask it without a thread.
    """

    name: str

    def search(self, query: str, k: int) -> list[Hit]:
        """Return at most ``k`` hits, best first; equal scores keep the catalogue's order."""
        ...

    def score(self, query: str, product_ids: Sequence[str]) -> dict[str, float]:
        """Return the BM25 score of each of these products; 0.0 where no word matches, no entry where the id is unknown."""
        ...

    def get(self, product_ids: Sequence[str]) -> dict[str, Product]:
        """Return the products with these ids; unknown ids are left out."""
        ...

    def count(self) -> int:
        """Return how many products can be found."""
        ...

    def close(self) -> None: ...


def check_query(query: str) -> str:
    """Return the query with control characters and surplus blanks removed.

    Raises:
        InputError: it is empty, or longer than ``MAX_QUERY_CHARACTERS``.
    """
    if len(query) > MAX_QUERY_CHARACTERS:
        raise InputError(f"The query has {len(query):,} characters.", hint=f"At most {MAX_QUERY_CHARACTERS:,} are searched for.")
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
        raise InputError(f"k is {k:,}.", hint=f"Rerank between 1 and {MAX_K:,} hits.")
    return k


def check_index_name(name: str) -> str:
    """Return ``name``, a name for an index that every first stage takes.

    Raises:
        InputError: OpenSearch would refuse it, or it is no plain folder name.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,199}", name) or ".." in name:
        raise InputError(
            f"{name!r} cannot name an index.", hint="Use up to 200 lower-case letters, digits, '-', '_' and '.', beginning with a letter or digit."
        )
    return name
