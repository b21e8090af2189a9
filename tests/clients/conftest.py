"""Fixtures: a real service, and the student that it must rank like."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from reranker import Reranker
from tests.served import served


@pytest.fixture(scope="session")
def student() -> Reranker:
    return Reranker.load()


@pytest.fixture(scope="session")
def service_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of `reranker serve` with the shipped bundle."""
    home = tmp_path_factory.mktemp("served")
    catalog = home / "catalog.jsonl"
    catalog.write_text(json.dumps({"id": "1", "title": "Laptop"}) + "\n", encoding="utf-8")
    with served(home, "--catalog", str(catalog)) as service:
        yield service.url
