"""Options that several commands share, and the objects they stand for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reranker.errors import InputError
from reranker.first_stage import check_index_name

if TYPE_CHECKING:
    from reranker.first_stage import FirstStage

Catalog = Annotated[
    Path | None, typer.Option("--catalog", metavar="FILE", help="JSON Lines catalogue (.jsonl, .gz, .zst); the demo catalogue where none is given.")
]
BundlePath = Annotated[Path | None, typer.Option("--bundle", metavar="DIR", help="The student; the shipped bundle where none is given.")]
OpenSearch = Annotated[
    str | None,
    typer.Option(
        "--opensearch", metavar="URL", help="Search this cluster instead of the embedded index. User and password: OPENSEARCH_USER, OPENSEARCH_PASSWORD."
    ),
]
IndexName = Annotated[str, typer.Option("--index", help="Name of the index (an alias, on OpenSearch).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]

DEFAULT_INDEX = "products"


def home() -> Path:
    """Return the folder that embedded indexes live in: $RERANKER_HOME, or ~/.cache/distilled-reranker."""
    return Path(os.environ.get("RERANKER_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "distilled-reranker")


def open_first_stage(opensearch: str | None, index: str, catalog: Path | None) -> FirstStage:
    """Open the cluster's index, or the embedded one, which is built first where ``catalog`` was not indexed yet.

    Without a catalogue the index is opened as it stands; only that of the default name is built, from the demo catalogue.

    Raises:
        InputError: the name cannot be an index's, or a catalogue is given together with a cluster.
        FirstStageError: there is no such index, or no answer.
    """
    check_index_name(index)
    if opensearch is not None:
        if catalog is not None:
            raise InputError(
                "--catalog and --opensearch were given together.", hint="Index the catalogue first: reranker index --catalog FILE --opensearch URL"
            )
        from opensearch.first_stage import OpenSearchFirstStage

        return OpenSearchFirstStage(opensearch, index)
    from reranker.embedded import EmbeddedFirstStage, open_or_build

    if catalog is None and index != DEFAULT_INDEX:
        return EmbeddedFirstStage(home() / index)
    return open_or_build(home() / index, catalog)
