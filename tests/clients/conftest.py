"""What the clients' tests share: a real service, documents, and the order that they should come back in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from reranker import Reranker
from tests.serving import serving

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


def expected(student: Reranker, documents: list, top_n: int | None = None) -> list[Place]:
    """The places that a client should tell: the library's, with the service's 7 decimals."""
    return [Place(ranked.index, pytest.approx(ranked.score, abs=1e-6)) for ranked in student.rerank(QUERY, documents, top_n)]


@pytest.fixture(scope="session")
def student() -> Reranker:
    return Reranker.load()


@pytest.fixture(scope="session")
def service_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of `reranker serve` with the shipped bundle."""
    home = tmp_path_factory.mktemp("served")
    catalog = home / "catalog.jsonl"
    catalog.write_text(json.dumps({"id": "1", "title": "Laptop"}) + "\n", encoding="utf-8")
    with serving(home, "--catalog", str(catalog)) as url:
        yield url
