"""``reranker pipeline``: reranking inside OpenSearch with a search pipeline."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reranker.cli.options import DEFAULT_INDEX, AsJson, IndexName

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reranker_opensearch.connection import Cluster
    from reranker_opensearch.search_pipeline.status import Status

app = typer.Typer(help="Rerank inside OpenSearch: clients add ?search_pipeline=NAME to their searches.", no_args_is_help=True)

OpenSearch = Annotated[str, typer.Option("--opensearch", metavar="URL", help="The cluster. User and password: OPENSEARCH_USER, OPENSEARCH_PASSWORD.")]
Name = Annotated[str | None, typer.Option("--name", help="The pipeline's name. Default: INDEX-reranked.", show_default=False)]
KeyFile = Annotated[
    Path | None,
    typer.Option("--api-key-file", metavar="FILE", help="File with the service's API key in its first line. Default: the environment's RERANKER_API_KEY."),
]


@app.command()
def install(
    opensearch: OpenSearch,
    service: Annotated[str, typer.Option("--service", metavar="URL", help="The service (`reranker serve`), as the cluster reaches it.")],
    index: IndexName = DEFAULT_INDEX,
    name: Name = None,
    k: Annotated[int, typer.Option("--k", min=1, max=1_000, help="How many of BM25's hits the student reorders.")] = 50,
    budget_ms: Annotated[int, typer.Option("--budget-ms", min=100, max=60_000, help="Time limit of reranking; later, the search returns BM25 order.")] = 1_000,
    fields: Annotated[
        str | None,
        typer.Option("--fields", metavar="FIELD=PATH,…", help="Paths of the student's fields in a document, such as title=name,brand=vendor.name."),
    ] = None,
    default: Annotated[bool, typer.Option("--default", help="Make it the index's default pipeline: searches then need no parameter.")] = False,
    settings: Annotated[bool, typer.Option("--settings/--no-settings", help="Change cluster settings that prevent calls to the service.")] = True,
    api_key_file: KeyFile = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be installed, and change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Install or update the rerank pipeline. A second run changes nothing."""
    _require_client()
    from reranker.errors import InputError
    from reranker.service.api_keys import read_keys
    from reranker_opensearch.search_pipeline import installation
    from reranker_opensearch.search_pipeline.definition import Wanted, check_service
    from reranker_opensearch.search_pipeline.status import status as check_status

    address = check_service(service)
    keys = read_keys(api_key_file, os.environ)
    key = keys[0] if keys else None
    with _cluster(opensearch) as cluster:
        with cluster.errors():
            installation.check_cluster(cluster)
            found = installation.fields_of(cluster, index, parse_fields(fields))
        pipeline = name or default_name(index)
        try:
            wanted = Wanted(name=pipeline, service=address, k=k, fields=found, budget_ms=budget_ms, api_key=key)
        except ValueError:
            raise InputError(f"'{pipeline}' cannot be a search pipeline's name.", hint="Use lower-case letters, digits, '-', '_' and '.'.") from None
        if dry_run:
            with cluster.errors():
                print(json.dumps(installation.plan(cluster, wanted), indent=1, ensure_ascii=False))
            return
        say = (lambda _: None) if as_json else print
        changed = installation.install(cluster, wanted, index=index, default=default, change_settings=settings, say=say)
        seen = check_status(cluster, pipeline, index)
    if as_json:
        print(json.dumps({"pipeline": pipeline, "changed": changed, "status": seen.as_dict()}, ensure_ascii=False))
    else:
        if not changed:
            print(f"'{pipeline}' is already installed; nothing was changed.")
        _print(seen)
        if seen.works:
            print(f"Search with it: POST /{index}/_search?search_pipeline={pipeline}" + (" (or without the parameter: it is the default)" if default else ""))
    if not seen.works:
        raise typer.Exit(1)


@app.command()
def status(
    opensearch: OpenSearch,
    index: IndexName = DEFAULT_INDEX,
    name: Name = None,
    query: Annotated[str | None, typer.Option("--query", help="The query of the live search. Default: words of a product.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Check the pipeline with a live search. If it is not reranked, show why and exit with 1."""
    _require_client()
    from reranker_opensearch.search_pipeline.status import status as check_status

    with _cluster(opensearch) as cluster:
        seen = check_status(cluster, name or default_name(index), index, query)
    if as_json:
        print(json.dumps(seen.as_dict(), ensure_ascii=False))
    else:
        _print(seen)
    if not seen.works:
        raise typer.Exit(1)


@app.command()
def remove(opensearch: OpenSearch, index: IndexName = DEFAULT_INDEX, name: Name = None, as_json: AsJson = False) -> None:
    """Remove the pipeline and its models, and restore the cluster settings."""
    _require_client()
    from reranker_opensearch.search_pipeline import installation

    pipeline = name or default_name(index)
    with _cluster(opensearch) as cluster:
        done = installation.remove(cluster, pipeline, say=(lambda _: None) if as_json else print)
    if as_json:
        print(json.dumps({"pipeline": pipeline, "done": done}, ensure_ascii=False))
    elif not done:
        print(f"There was no pipeline '{pipeline}'; nothing was changed.")


def default_name(index: str) -> str:
    return f"{index}-reranked"


def parse_fields(text: str | None) -> dict[str, str] | None:
    """Parse ``title=name,brand`` into field → path; a field without a path is its own. None stays None.

    Raises:
        InputError: a part is empty.
    """
    from reranker.errors import InputError

    if text is None:
        return None
    found: dict[str, str] = {}
    for part in text.split(","):
        field, _, path = (piece.strip() for piece in part.partition("="))
        if not field or ("=" in part and not path):
            raise InputError(f"--fields {text} cannot be read.", hint="Give FIELD=PATH, separated by commas: title=name,brand=vendor.name")
        found[field] = path or field
    return found


def _require_client() -> None:
    from reranker.errors import MissingExtraError

    try:
        import opensearchpy  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtraError("`reranker pipeline`", "opensearch") from None


@contextmanager
def _cluster(url: str) -> Iterator[Cluster]:
    from reranker_opensearch.connection import Cluster

    cluster = Cluster(url, timeout=60.0)
    try:
        yield cluster
    finally:
        cluster.close()


def _print(seen: Status) -> None:
    for check in seen.checks:
        print(f"{'ok ' if check.right else 'BAD'} {check.what}: {check.seen}")
