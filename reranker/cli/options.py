"""Options that several commands share, the objects made from them, and the console for tables."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reranker import plugins
from reranker.errors import CatalogError, FirstStageError, InputError
from reranker.first_stage import check_index_name
from reranker.folders import cache_folder

if TYPE_CHECKING:
    from reranker.first_stage import FirstStage
    from reranker.terminal import Terminal

Catalog = Annotated[
    Path | None,
    typer.Option(
        "--catalog",
        metavar="FILE",
        help="JSON Lines catalogue (.jsonl, .gz, .zst). Default: the demo catalogue, or what the index holds.",
    ),
]
Locale = Annotated[str | None, typer.Option("--locale", help="For Amazon ESCI's tables: use only this product_locale, such as us.")]
BundlePath = Annotated[Path | None, typer.Option("--bundle", metavar="DIR|NAME", help="The student: a bundle's folder, or the name of a shipped one.")]
OpenSearch = Annotated[
    str | None,
    typer.Option(
        "--opensearch",
        metavar="URL",
        help="Use this cluster, not the embedded index. Separate several nodes' URLs with commas. User and password: OPENSEARCH_USER, OPENSEARCH_PASSWORD.",
    ),
]
IndexName = Annotated[str, typer.Option("--index", help="Name of the index (an alias, on OpenSearch).")]
ApiKeyFile = Annotated[
    Path | None,
    typer.Option(
        "--api-key-file",
        metavar="FILE",
        help="File with the API key; `serve` takes several, one per line. Default: the environment's RERANKER_API_KEY_FILE or RERANKER_API_KEY.",
    ),
]
Vectors = Annotated[
    Path | None,
    typer.Option("--vectors", metavar="DIR", help="Product vectors computed by `reranker vectors`. Missing ones are computed at first use."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]

DEFAULT_INDEX = "products"
_PIPED = 160  # columns; the width of a pipe's reader is unknown


def home() -> Path:
    """Return the folder of embedded indexes: $RERANKER_HOME, or ~/.cache/distilled-reranker. It is created with the first index."""
    return cache_folder()


def open_first_stage(
    opensearch: str | None, index: str, catalog: Path | None, *, quiet: bool = False, locale: str | None = None, cache_bytes: int | None = None
) -> FirstStage:
    """Open the cluster's index, or an embedded one.

    A catalogue gets an embedded index of its own, built at first use and named by the file's checksum, so that indexes made by
    ``reranker index`` stay unchanged. Without a catalogue the named index is opened; a missing default index is built
    from the demo catalogue. ``locale`` selects products from ESCI's table; ``cache_bytes`` is the memory of an embedded index's
    cache of products, if not the default.

    Raises:
        InputError: the index name is not allowed, or both a catalogue and a cluster are given.
        CatalogError: the catalogue cannot be read.
        StorageError: an index has to be built and cannot be written.
        FirstStageError: there is no such index, or the cluster does not answer.
    """
    check_index_name(index)
    if opensearch is not None:
        if catalog is not None:
            raise InputError("--catalog and --opensearch were given together.", hint="Index it first: reranker index --catalog FILE --opensearch URL")
        opened: FirstStage = plugins.load(plugins.FIRST_STAGES, "opensearch")(opensearch, index)
        return opened
    from reranker.embedded import CACHE_BYTES, EmbeddedFirstStage, build_with_progress, made_from, open_or_build_demo, source_of

    named = home() / index
    cache_bytes = CACHE_BYTES if cache_bytes is None else cache_bytes
    if catalog is None:
        return open_or_build_demo(named, quiet=quiet, cache_bytes=cache_bytes) if index == DEFAULT_INDEX else EmbeddedFirstStage(named, cache_bytes)
    if not catalog.is_file():
        raise CatalogError(f"There is no catalogue at {catalog}.", hint="Give a JSON Lines file (.jsonl, .jsonl.gz or .jsonl.zst).")
    source = source_of(catalog, locale)
    own = home() / "-".join(["catalog", source["sha256"][:12], *([re.sub(r"\W", "", locale)] if locale else [])])
    for folder in (named, own):
        if made_from(folder, source["sha256"], locale):
            with suppress(FirstStageError):  # damaged: it is built again
                return EmbeddedFirstStage(folder, cache_bytes)
    build_with_progress(own, catalog, source=source, quiet=quiet, locale=locale)
    return EmbeddedFirstStage(own, cache_bytes)


def output_console() -> Terminal:
    """Return a console for the standard output: as wide as the terminal or as COLUMNS says, and wide if piped."""
    from reranker.terminal import Terminal

    return Terminal(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPED, highlight=False)
