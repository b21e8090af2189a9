"""Unit tests run without torch, except slow ones. A session of quick unit tests alone fails if it imports torch."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reranker import Reranker
from tests.tiny_bundle import make_tiny_bundle

_reported = False  # once is enough: torch stays imported


@pytest.fixture(autouse=True)
def without_torch(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the first test that leaves torch imported, unless slow tests or those of other folders run in the same session."""
    global _reported
    yield
    if "torch" not in sys.modules or _reported:
        return
    if all(Path(__file__).parent in item.path.parents and not item.get_closest_marker("slow") for item in request.session.items):
        _reported = True
        pytest.fail("torch was imported by this test, or while tests were collected: move the test to tests/distillation, or import less")


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that takes milliseconds to load; tests only read it."""
    return make_tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


@pytest.fixture(scope="module")
def reranker(bundle: Path) -> Reranker:
    """The tiny bundle's student; modules that change it have their own."""
    return Reranker.load(bundle, threads=1)
