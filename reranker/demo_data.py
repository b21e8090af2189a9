"""The demo catalogue, judgments and query log that come with the package, and the catalogue's vectors for its bundles."""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def demo_file(name: str) -> Path:
    """Return the path of one shipped file: products.jsonl.gz, judgments.csv, queries.tsv, or vectors, a folder."""
    return Path(str(resources.files("reranker") / "data" / "icecat" / name))
