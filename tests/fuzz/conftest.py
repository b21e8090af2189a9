"""A running service, its OpenAPI description, and a session whose end shows that the service still works."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis

from tests.served import served
from tests.tiny_bundle import make_tiny_bundle

PRODUCTS = [{"id": "1", "title": "Gaming laptop"}, {"id": "2", "title": "Laptop bag"}]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("fuzzed")
    catalog = home / "catalog.jsonl"
    catalog.write_text("".join(json.dumps(product) + "\n" for product in PRODUCTS), encoding="utf-8")
    with served(home, "--catalog", str(catalog), "--bundle", str(make_tiny_bundle(home / "bundle"))) as service:
        yield service.url


@pytest.fixture(scope="module")
def description(url: str) -> Any:
    return schemathesis.openapi.from_url(f"{url}/openapi.json")


@pytest.fixture
def session(url: str) -> Iterator[requests.Session]:
    """Requests go through it; when a test is done with it the service must still rank."""
    with requests.Session() as session:
        yield session
        answer = session.post(f"{url}/v2/rerank", json={"query": "gaming laptop", "documents": ["desk", "gaming laptop"]}, timeout=60)
        assert [result["index"] for result in answer.json()["results"]] == [1, 0]
