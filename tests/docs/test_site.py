"""The documentation site builds strictly: every page is in the navigation, every link and reference leads somewhere."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages import ROOT

pytestmark = pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None and os.environ.get("CI") != "true", reason="the extra docs is not installed")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "not included in the" not in done.stderr, done.stderr
    return folder


def test_the_reference_is_written_from_the_code(site: Path) -> None:
    told = {
        name: (site / "reference" / name / "index.html").read_text(encoding="utf-8") for name in ("cli", "recipes", "http", "python", "exit-codes", "messages")
    }
    assert "reranker pipeline install" in told["cli"]
    assert "held_out_fold" in told["recipes"]
    assert "/v2/rerank" in told["http"]
    assert "RerankRequest" in told["http"]
    assert "use_vectors" in told["python"]
    assert "BundleError" in told["exit-codes"]
    assert "There is no bundle at" in told["messages"]


def test_nothing_is_fetched_when_a_page_without_a_diagram_is_read(site: Path) -> None:
    """Fonts and scripts come with the site. Mermaid, which draws the diagrams, is the exception."""
    page = (site / "guides" / "serving" / "index.html").read_text(encoding="utf-8")
    assert "fonts.googleapis" not in page
    assert 'src="http' not in page
    assert 'rel="stylesheet" href="http' not in page
