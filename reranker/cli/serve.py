"""``reranker serve``: the HTTP service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reranker.cli.options import DEFAULT_INDEX, BundlePath, Catalog, IndexName, OpenSearch, open_first_stage

if TYPE_CHECKING:
    from fastapi import FastAPI

    from reranker.service.late_first_stage import LateFirstStage

Host = Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all of the machine's.")]
K = Annotated[int, typer.Option("--k", help="How many of BM25's hits the student reorders, 1 to 1,000.")]
BudgetMs = Annotated[
    float | None, typer.Option("--budget-ms", min=1, help="What the student may take; when it is late, BM25 order stands. No limit where none is given.")
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads of one scoring; all cores where none is given.")]


def serve(
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    bundle: BundlePath = None,
    catalog: Catalog = None,
    index: IndexName = DEFAULT_INDEX,
    opensearch: OpenSearch = None,
    k: K = 50,
    budget_ms: BudgetMs = None,
    threads: Threads = None,
) -> None:
    """Serve rerank endpoints (Cohere's, Jina's, text-embeddings-inference's shapes) and two-stage search over HTTP."""
    from reranker.errors import FirstStageError
    from reranker.service.server import bind, exit_cleanly_on_sigterm, run_until_stopped, url_of

    exit_cleanly_on_sigterm()
    listener = bind(host, port)
    first_stage = late_first_stage(opensearch, index, catalog)
    app = build_app(first_stage, bundle=bundle, k=k, budget_ms=budget_ms, threads=threads)
    try:
        first_stage.count()
    except FirstStageError as error:
        typer.echo(f"warning: /search is not available yet: {error}\nIt is tried again at each search; the rerank endpoints work.", err=True)
    url = url_of(listener)
    run_until_stopped(app, listener, on_start=lambda: print(f"Listening on {url} (description: {url}/docs). Ctrl-C stops it.", flush=True))


def late_first_stage(opensearch: str | None, index: str, catalog: Path | None) -> LateFirstStage:
    """Return the first stage of the options, opened when it is first used."""
    from reranker.service.late_first_stage import LateFirstStage

    return LateFirstStage("embedded" if opensearch is None else "opensearch", lambda: open_first_stage(opensearch, index, catalog))


def build_app(first_stage: LateFirstStage, *, bundle: Path | None, k: int, budget_ms: float | None, threads: int | None) -> FastAPI:
    """Load the student, warm it up, and put the service together.

    Raises:
        BundleError: the bundle cannot be loaded.
        InputError: k is out of range.
    """
    from opensearch.search_pipeline.endpoints import pipeline_router
    from reranker.first_stage import check_k
    from reranker.search import TwoStageSearch
    from reranker.service import create_app
    from reranker.student import Reranker

    check_k(k)
    student = Reranker.load(bundle, threads=threads)
    student.score("warm up", ["the first run of a model is slower than the others"])
    return create_app(student, TwoStageSearch(first_stage, student, k=k, budget_ms=budget_ms), more=[pipeline_router])
