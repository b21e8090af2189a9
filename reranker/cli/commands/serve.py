"""``reranker serve``: the HTTP service."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reranker.cli.options import DEFAULT_INDEX, ApiKeyFile, BundlePath, Catalog, IndexName, OpenSearch, Vectors, open_first_stage

if TYPE_CHECKING:
    import socket

    from fastapi import FastAPI

    from reranker.reranker import Reranker
    from reranker.rollout import Rollout
    from reranker.service.api_keys import ApiKeys
    from reranker.service.late_first_stage import LateFirstStage
    from reranker.service.limits import Limits

Host = Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all addresses of the machine.")]
K = Annotated[int, typer.Option("--k", help="How many of BM25's hits the student reorders, 1 to 1,000.")]
BudgetMs = Annotated[
    float | None,
    typer.Option(
        "--budget-ms", min=1, help="Time limit of the student, waiting included; if it is or would be late, the search returns BM25 order. Default: none."
    ),
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads of one scoring. Default: all cores.")]

_LEAST_MEMORY = 16 * 1024 * 1024
_LIMITS, _ROLLOUT = "Limits", "Rollout"

AllowedHosts = Annotated[
    str,
    typer.Option(
        "--allowed-hosts",
        metavar="NAME,…",
        help="Host names by which clients reach the service, besides localhost, IP addresses and --host; * allows all.",
        rich_help_panel=_LIMITS,
    ),
]
MemoryBudgetOption = Annotated[
    str,
    typer.Option(
        "--memory-budget", metavar="SIZE", help="Memory for requests, caches and answers, besides models and index, such as 256MiB.", rich_help_panel=_LIMITS
    ),
]
MaxConnections = Annotated[int, typer.Option(min=1, help="Limit of open connections; lowered to what `ulimit -n` allows.", rich_help_panel=_LIMITS)]
MaxConnectionsPerClient = Annotated[int, typer.Option(min=1, help="Limit of one address's open connections.", rich_help_panel=_LIMITS)]
ClientTimeout = Annotated[
    float,
    typer.Option("--client-timeout-s", min=0.1, help="How long a connection waits for a header, or for its client to read.", rich_help_panel=_LIMITS),
]


def serve(
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8000,
    bundle: BundlePath = None,
    catalog: Catalog = None,
    index: IndexName = DEFAULT_INDEX,
    opensearch: OpenSearch = None,
    k: K = 50,
    budget_ms: BudgetMs = None,
    threads: Threads = None,
    vectors: Vectors = None,
    cache: Annotated[
        int, typer.Option("--cache", min=0, help="How many queries' results the student caches; 0 turns the cache off. Scores do not change.")
    ] = 10_000,
    api_key_file: ApiKeyFile = None,
    bundles: Annotated[
        Path | None,
        typer.Option("--bundles", metavar="DIR", exists=True, file_okay=False, help="Folder of the bundles that clients may serve.", rich_help_panel=_ROLLOUT),
    ] = None,
    shadow: Annotated[
        Path | None,
        typer.Option(
            "--shadow",
            metavar="DIR|NAME",
            help="A second bundle that scores all traffic for comparison only.",
            rich_help_panel=_ROLLOUT,
        ),
    ] = None,
    max_body_bytes: Annotated[int, typer.Option(min=1_000, help="Limit of a request's body.", rich_help_panel=_LIMITS)] = 32 * 1024 * 1024,
    max_documents: Annotated[int, typer.Option(min=1, max=1_000, help="Limit of documents in a rerank request.", rich_help_panel=_LIMITS)] = 1_000,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="How many scorings, and how many searches, run at once.", rich_help_panel=_LIMITS)] = 4,
    max_waiting: Annotated[
        int, typer.Option(min=0, help="How many more may wait. Beyond that, searches return BM25 order and scorings are refused.", rich_help_panel=_LIMITS)
    ] = 100,
    timeout_ms: Annotated[float, typer.Option(min=1, help="Time-out of a request.", rich_help_panel=_LIMITS)] = 30_000,
    memory_budget: MemoryBudgetOption = "512MiB",
    max_connections: MaxConnections = 1_000,
    max_connections_per_client: MaxConnectionsPerClient = 500,
    client_timeout_s: ClientTimeout = 10,
    allowed_hosts: AllowedHosts = "",
) -> None:
    """Serve two-stage search and rerank endpoints (compatible with Cohere, Jina and text-embeddings-inference) over HTTP."""
    from reranker.errors import BundleError, FirstStageError, RerankerError
    from reranker.rollout import Rollout
    from reranker.service.limits import Limits
    from reranker.service.logs import log_to_stderr
    from reranker.service.server import bind, exit_cleanly_on_sigterm, ignore_sighup, on_sighup, run_until_stopped, url_of

    exit_cleanly_on_sigterm()
    ignore_sighup()
    log_to_stderr()
    keys = service_keys(api_key_file)
    limits = Limits(
        max_body_bytes,
        max_documents,
        concurrency,
        max_waiting,
        timeout_ms,
        bytes_of(memory_budget),
        max_connections,
        max_connections_per_client,
        client_timeout_s,
    )
    listener = bind(host, port)
    warn_if_open(listener, keys)
    first_stage = late_first_stage(opensearch, index, catalog, cache_bytes=limits.memory.products)
    rollout = Rollout(bundle, threads=threads, cache=cache, cache_bytes=limits.memory.students, bundles=bundles, vectors=vectors)
    warn_without_vectors(rollout.pin(), vectors)
    app = build_app(first_stage, rollout, k=k, budget_ms=budget_ms, limits=limits, keys=keys, hosts=names_of(host, allowed_hosts))
    if shadow is not None:
        with suppress(BundleError):  # logged and shown by GET /bundles; the service starts without the shadow
            rollout.start_shadow(shadow, trusted=True)

    def read_again() -> None:
        if keys is not None:
            _replace(keys, api_key_file)
        with suppress(RerankerError):  # logged, counted and shown by GET /bundles
            rollout.reload(trigger="SIGHUP", wait=True)

    on_sighup(read_again)
    try:
        first_stage.count()
    except FirstStageError as error:
        typer.echo(f"warning: /search is not available yet: {error}\nEach search tries again; the rerank endpoints work.", err=True)
    url = url_of(listener)
    run_until_stopped(app, listener, on_start=lambda: print(f"Listening on {url} (API: {url}/docs). Ctrl-C stops it.", flush=True))


def service_keys(api_key_file: Path | None) -> ApiKeys | None:
    """Return the keys of the file or the environment, None without keys.

    Raises:
        InputError: they cannot be used.
    """
    from reranker.service.api_keys import ApiKeys, read_keys

    found = read_keys(api_key_file, os.environ)
    return None if found is None else ApiKeys(found)


def warn_if_open(listener: socket.socket, keys: ApiKeys | None) -> None:
    """Warn if other machines can reach the service without a key."""
    from reranker.service.access import is_loopback

    if keys is None and not is_loopback(listener.getsockname()[0]):
        typer.echo("warning: other machines can reach this service without an API key. Set one with --api-key-file FILE.", err=True)


def names_of(host: str, allowed_hosts: str) -> list[str]:
    """Return the host names of ``--host`` and ``--allowed-hosts``.

    Raises:
        InputError: one is not a name.
    """
    from reranker.errors import InputError
    from reranker.service.access import host_name

    names = [name.strip() for name in allowed_hosts.split(",") if name.strip()]
    for name in names:
        if name != "*" and host_name(name) is None:
            raise InputError(f"--allowed-hosts {name[:100]} is not a host name.", hint="Give names such as search.shop.example, separated by commas.")
    return [host_name(name) or name for name in (host, *names)]


def bytes_of(size: str) -> int:
    """Return the bytes of a memory budget such as ``256MiB``, ``1GB`` or ``300000000``; at least 16 MiB.

    Raises:
        InputError: it is not a size, or too small.
    """
    from pydantic import ByteSize, TypeAdapter, ValidationError

    from reranker.errors import InputError

    try:
        found = int(TypeAdapter(ByteSize).validate_python(size))
    except (ValidationError, OverflowError):
        raise InputError(f"--memory-budget {size[:50]} is not a size.", hint="Give a number of bytes, or one such as 256MiB or 1GB.") from None
    if found < _LEAST_MEMORY:
        raise InputError(f"--memory-budget {size[:50]} is too small.", hint="Give at least 16MiB.")
    return found


def warn_without_vectors(student: Reranker, vectors: Path | None) -> None:
    """Warn if a given folder of vectors holds none of the bundle's."""
    if vectors is not None and student.keeps_vectors and not student.vectors_stored:
        typer.echo(f"warning: {vectors} holds no vectors of the bundle {student.model}; compute them: reranker vectors --out {vectors}", err=True)


def late_first_stage(opensearch: str | None, index: str, catalog: Path | None, *, cache_bytes: int | None = None) -> LateFirstStage:
    """Return the first stage that the options name, opened at first use; ``cache_bytes`` limits an embedded one's cache."""
    from reranker.service.late_first_stage import LateFirstStage

    return LateFirstStage("embedded" if opensearch is None else "opensearch", lambda: open_first_stage(opensearch, index, catalog, cache_bytes=cache_bytes))


def _replace(keys: ApiKeys, api_key_file: Path | None) -> None:
    """Read the keys again; if they cannot be used, the old ones stay valid."""
    from reranker.errors import InputError
    from reranker.service.api_keys import read_keys

    try:
        keys.replace(read_keys(api_key_file, os.environ) or [])
    except InputError as error:
        typer.echo(f"warning: the API keys are unchanged: {error}", err=True)


def build_app(
    first_stage: LateFirstStage,
    student: Reranker | Rollout,
    *,
    k: int,
    budget_ms: float | None,
    limits: Limits | None = None,
    keys: ApiKeys | None = None,
    hosts: Sequence[str] | None = None,
) -> FastAPI:
    """Build the service's app, as ``create_app``.

    Raises:
        InputError: k is out of range.
    """
    from reranker.search import TwoStageSearch
    from reranker.service import create_app
    from reranker.service.limits import DEFAULT_LIMITS

    limits = limits or DEFAULT_LIMITS
    searcher = TwoStageSearch(first_stage, student, k=k, budget_ms=budget_ms, workers=limits.concurrency)
    return create_app(student, searcher, limits=limits, keys=keys, hosts=hosts)
