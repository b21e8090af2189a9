"""``reranker index``: indexes a catalogue in the embedded engine or in OpenSearch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from reranker import plugins
from reranker.cli.options import DEFAULT_INDEX, AsJson, Catalog, IndexName, Locale, OpenSearch, home
from reranker.demo_data import demo_file
from reranker.errors import printable
from reranker.first_stage import check_index_name

if TYPE_CHECKING:
    from reranker.products import CatalogProblem


def index(
    catalog: Catalog = None,
    opensearch: OpenSearch = None,
    name: IndexName = DEFAULT_INDEX,
    locale: Locale = None,
    skip_invalid: Annotated[bool, typer.Option("--skip-invalid", help="Leave out products that cannot be indexed, and list them.")] = False,
    shards: Annotated[int | None, typer.Option("--shards", help="OpenSearch only: number of shards. Default: 1.", show_default=False)] = None,
    replicas: Annotated[
        int | None, typer.Option("--replicas", help="OpenSearch only: copies of each shard. Default: 1 if there is a second node.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Index a catalogue. The old index of that name stays in use until the new one is complete."""
    check_index_name(name)
    if opensearch is None and (shards is not None or replicas is not None):
        raise typer.BadParameter("--shards and --replicas are for OpenSearch only: add --opensearch URL.")
    path = catalog or demo_file("products.jsonl.gz")
    problems: list[CatalogProblem] = []
    if opensearch is None:
        from reranker.embedded import build_with_progress

        where = str(home() / name)
        count = build_with_progress(home() / name, path, quiet=as_json, skip_invalid=skip_invalid, problems=problems, locale=locale)
    else:
        index_catalog = plugins.load(plugins.INDEXERS, "opensearch")
        where = f"'{name}' in OpenSearch"
        count = index_catalog(
            opensearch,
            name,
            path,
            shards=1 if shards is None else shards,
            replicas=replicas,
            skip_invalid=skip_invalid,
            problems=problems,
            quiet=as_json,
            locale=locale,
        )
    if as_json:
        from reranker.terminal import json_text

        first_stage = "embedded" if opensearch is None else "opensearch"
        print(json_text({"first_stage": first_stage, "index": name, "products": count, "left_out": [one.as_dict() for one in problems]}))
        return
    print(f"{count:,} products indexed into {printable(where)}.")
    if problems:
        print(f"{len(problems):,} left out:")
        for problem in problems:
            print(f"  {problem}")
