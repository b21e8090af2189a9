"""The clients' requests, and the expected order."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from reranker import Reranker

QUERY = "gaming laptop"
TEXTS = [
    "Laptop bag, 15 inch, black",
    "ASUS ROG Strix G15 gaming notebook, GeForce RTX, 15.6 inch, 144 Hz",
    "HDMI cable, 2 m",
    "HP ProBook 450 notebook",
    "Kensington laptop lock",
    "Écran 4K 🎮 27″",
]
PRODUCTS = [
    {"title": "Laptop bag", "brand": "Targus", "description": "For 15 inch"},
    {"title": "ROG Strix G15 gaming notebook", "brand": "ASUS", "attributes": {"gpu": "GeForce RTX"}},
    {"title": "HDMI cable", "brand": "Hama"},
    {"title": "ProBook 450 notebook", "brand": "HP"},
]


class Place(NamedTuple):
    index: int
    score: float


def expected(student: Reranker, documents: list[Any], top_n: int | None = None) -> list[Place]:
    """The places that a client should tell: the library's, with the service's 7 decimals."""
    return [Place(ranked.index, pytest.approx(ranked.score, abs=1e-6)) for ranked in student.rerank(QUERY, documents, top_n)]
