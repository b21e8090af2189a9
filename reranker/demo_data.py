"""The demo data in the package: catalogue, judgments, query log, and the catalogue's vectors by the shipped bundles."""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def demo_file(name: str) -> Path:
    """Return the path of a file: products.jsonl.gz, judgments.csv or queries.tsv, or of the folder vectors."""
    return Path(str(resources.files("reranker") / "data" / "icecat" / name))
