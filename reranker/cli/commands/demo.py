"""``reranker demo``: a local page with BM25's order and the student's side by side."""

from __future__ import annotations

import threading
import webbrowser
from typing import Annotated

import typer

from reranker.cli.commands.serve import (
    AllowedHosts,
    BudgetMs,
    Host,
    K,
    MemoryBudgetOption,
    Threads,
    build_app,
    bytes_of,
    late_first_stage,
    names_of,
    service_keys,
    warn_if_open,
    warn_without_vectors,
)
from reranker.cli.options import DEFAULT_INDEX, ApiKeyFile, BundlePath, Catalog, IndexName, OpenSearch, Vectors, home


def demo(
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8765,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
    bundle: BundlePath = None,
    catalog: Catalog = None,
    index: IndexName = DEFAULT_INDEX,
    opensearch: OpenSearch = None,
    examples: Annotated[
        bool | None,
        typer.Option("--examples/--no-examples", help="Show example queries of the demo catalogue. Default: if the embedded index holds that catalogue."),
    ] = None,
    k: K = 50,
    budget_ms: BudgetMs = None,
    threads: Threads = None,
    vectors: Vectors = None,
    api_key_file: ApiKeyFile = None,
    memory_budget: MemoryBudgetOption = "512MiB",
    allowed_hosts: AllowedHosts = "",
) -> None:
    """Serve a local page that shows BM25's order and the reranked order of a query side by side."""
    from reranker.demo import EXAMPLES, add_page
    from reranker.reranker import Reranker
    from reranker.service.limits import Limits
    from reranker.service.logs import log_to_stderr
    from reranker.service.server import bind, exit_cleanly_on_sigterm, run_until_stopped, url_of

    exit_cleanly_on_sigterm()
    log_to_stderr()
    keys = service_keys(api_key_file)
    limits = Limits(memory_bytes=bytes_of(memory_budget))
    listener = bind(host, port)
    warn_if_open(listener, keys)
    first_stage = late_first_stage(opensearch, index, catalog, cache_bytes=limits.memory.products)
    student = Reranker.load(bundle, threads=threads, cache_bytes=limits.memory.students)
    if vectors is not None:
        student.use_vectors(vectors)
    warn_without_vectors(student, vectors)
    app = build_app(first_stage, student, k=k, budget_ms=budget_ms, limits=limits, keys=keys, hosts=names_of(host, allowed_hosts))
    first_stage.open()  # builds the embedded index if needed; the page needs a first stage
    if examples is None:
        examples = opensearch is None and catalog is None and _holds_demo_catalog(index)
    add_page(app, k=k, examples=EXAMPLES if examples else ())
    url = url_of(listener)

    def started() -> None:
        print(f"Demo: {url} (Ctrl-C stops it)", flush=True)
        if open_browser:  # in a thread, since some browsers block until they are closed
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()

    run_until_stopped(app, listener, on_start=started)


def _holds_demo_catalog(index: str) -> bool:
    from reranker.bundle import sha256
    from reranker.demo_data import demo_file
    from reranker.embedded import made_from

    return made_from(home() / index, sha256(demo_file("products.jsonl.gz")))
