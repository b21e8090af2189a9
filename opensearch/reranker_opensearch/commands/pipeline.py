"""``reranker pipeline``: reranking inside OpenSearch, by a search pipeline."""

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

app = typer.Typer(help="Rerank inside OpenSearch: any client gets it by adding ?search_pipeline=NAME to its search.", no_args_is_help=True)

OpenSearch = Annotated[str, typer.Option("--opensearch", metavar="URL", help="The cluster. User and password: OPENSEARCH_USER, OPENSEARCH_PASSWORD.")]
Name = Annotated[str | None, typer.Option("--name", help="The pipeline's name. [default: the index's, with -reranked behind it]", show_default=False)]
KeyFile = Annotated[Path | None, typer.Option("--api-key-file", metavar="FILE", help="Holds the service's API key in its first line; or RERANKER_API_KEY.")]


@app.command()
def install(
    opensearch: OpenSearch,
    service: Annotated[str, typer.Option("--service", metavar="URL", help="The reranker service (reranker serve), as the cluster reaches it.")],
    index: IndexName = DEFAULT_INDEX,
    name: Name = None,
    k: Annotated[int, typer.Option("--k", min=1, max=1_000, help="How many of BM25's hits the student reorders.")] = 50,
    budget_ms: Annotated[
        int, typer.Option("--budget-ms", min=100, max=60_000, help="What the rerank may add to a search; later, BM25's order stands.")
    ] = 1_000,
    fields: Annotated[
        str | None,
        typer.Option(
            "--fields", metavar="FIELD=PATH,…", help="Where the student's fields stand in a document: title=name,brand=vendor.name. Nested paths work."
        ),
    ] = None,
    default: Annotated[bool, typer.Option("--default", help="Make it the index's default: searches need no parameter then.")] = False,
    settings: Annotated[bool, typer.Option("--settings/--no-settings", help="Set the cluster's settings where they do not let it call the service.")] = True,
    model_group: Annotated[str | None, typer.Option("--model-group", help="ML Commons model group for the models; made where missing.")] = None,
    api_key_file: KeyFile = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be put into the cluster, and change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Install the rerank pipeline, or bring the one that is there up to date; a second run changes nothing."""
    from reranker.errors import InputError
    from reranker.service.api_keys import read_keys
    from reranker_opensearch.search_pipeline.definition import Wanted, check_service
    from reranker_opensearch.search_pipeline.installation import check_cluster, fields_of, plan
    from reranker_opensearch.search_pipeline.installation import install as put
    from reranker_opensearch.search_pipeline.status import status as look

    address = check_service(service)
    keys = read_keys(api_key_file, os.environ)
    key = keys[0] if keys else None
    with _cluster(opensearch) as cluster:
        with cluster.errors():
            ability = check_cluster(cluster)
            found = fields_of(cluster, index, parse_fields(fields))
        pipeline = name or default_name(index)
        try:
            wanted = Wanted(name=pipeline, service=address, k=k, fields=found, budget_ms=budget_ms, enlarge=ability.enlarge, api_key=key)
        except ValueError:
            raise InputError(f"'{pipeline}' cannot be a search pipeline's name.", hint="Use small letters, digits, '-', '_' and '.'.") from None
        if dry_run:
            with cluster.errors():
                print(json.dumps(plan(cluster, wanted), indent=1, ensure_ascii=False))
            return
        say = (lambda _: None) if as_json else print
        if not ability.enlarge:
            typer.echo(
                "warning: this OpenSearch lacks the processors oversample and truncate_hits (module search-pipeline-common): "
                "only the hits of the page that a client asks for are reranked.",
                err=True,
            )
        done = put(cluster, wanted, index=index, default=default, change_settings=settings, model_group=model_group, say=say)
        seen = look(cluster, pipeline, index)
    if as_json:
        print(json.dumps({"pipeline": done.name, "changed": done.changed, "status": seen.as_dict()}, ensure_ascii=False))
    else:
        if not done.changed:
            print(f"'{done.name}' is installed already; nothing was changed.")
        _print(seen)
        if seen.works:
            print(f"Search with it: POST /{index}/_search?search_pipeline={done.name}" + (" (or without the parameter: it is the default)" if default else ""))
    if not seen.works:
        raise typer.Exit(1)


@app.command()
def status(
    opensearch: OpenSearch,
    index: IndexName = DEFAULT_INDEX,
    name: Name = None,
    query: Annotated[str | None, typer.Option("--query", help="What to search for. [default: words of a product]", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Prove the pipeline by a live search, and say what is wrong where it is not reranked (exit code 1)."""
    from reranker_opensearch.search_pipeline.status import status as look

    with _cluster(opensearch) as cluster:
        seen = look(cluster, name or default_name(index), index, query)
    if as_json:
        print(json.dumps(seen.as_dict(), ensure_ascii=False))
    else:
        _print(seen)
    if not seen.works:
        raise typer.Exit(1)


@app.command()
def remove(opensearch: OpenSearch, index: IndexName = DEFAULT_INDEX, name: Name = None, as_json: AsJson = False) -> None:
    """Remove the pipeline and its models, and put back the settings that it needed."""
    from reranker_opensearch.search_pipeline.installation import remove as take_away

    pipeline = name or default_name(index)
    with _cluster(opensearch) as cluster:
        done = take_away(cluster, pipeline, say=(lambda _: None) if as_json else print)
    if as_json:
        print(json.dumps({"pipeline": pipeline, "done": done}, ensure_ascii=False))
    elif not done:
        print(f"There was no pipeline '{pipeline}'; nothing was changed.")


def default_name(index: str) -> str:
    return f"{index}-reranked"


def parse_fields(text: str | None) -> dict[str, str] | None:
    """Return field → path of ``title=name,brand`` (a name alone stands for itself), or None where nothing is given.

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
