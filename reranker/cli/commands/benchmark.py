"""``reranker benchmark``: latency of the first stage and of reranking on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reranker.cli.commands.serve import K, Threads
from reranker.cli.options import DEFAULT_INDEX, AsJson, BundlePath, Catalog, IndexName, OpenSearch, open_first_stage


def benchmark(
    bundle: BundlePath = None,
    catalog: Catalog = None,
    index: IndexName = DEFAULT_INDEX,
    opensearch: OpenSearch = None,
    queries: Annotated[Path | None, typer.Option("--queries", metavar="FILE", help="Queries, one per line. Default: the demo's judged queries.")] = None,
    count: Annotated[int, typer.Option("--count", min=1, max=200, help="How many different queries to time.")] = 50,
    k: K = 50,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Measure the latency of the first stage and of reranking on this machine, one search at a time."""
    from rich.table import Table

    from reranker.cli.options import output_console
    from reranker.evaluation.latency import measure_stages
    from reranker.evaluation.table import LABELS
    from reranker.first_stage import check_k
    from reranker.reranker import Reranker
    from reranker.search import TwoStageSearch
    from reranker.terminal import json_text

    check_k(k)
    texts = _queries(queries)[:count]
    student = Reranker.load(bundle, threads=threads)
    searcher = TwoStageSearch(open_first_stage(opensearch, index, catalog, quiet=as_json), student, k=k)
    try:
        latency = measure_stages(searcher, texts, k)
    finally:
        searcher.close()
    if as_json:
        stages = {stage: {name: round(getattr(times, name), 3) for name in ("p50", "p95")} for stage, times in latency.items()}
        print(json_text({"bundle": student.model, "first_stage": searcher.first_stage.name, "k": k, "queries": len(texts), "latency_ms": stages}, indent=2))
        return
    table = Table("stage", "p50", "p95", title=f"Milliseconds, {len(texts)} queries, {k} hits reranked by {student.model}", title_justify="left")
    for stage, times in latency.items():
        table.add_row(LABELS[stage], f"{times.p50:.2f}", f"{times.p95:.2f}")
    output_console().print(table)


def _queries(path: Path | None) -> list[str]:
    """Return the different queries of a file, or of the demo judgments.

    Raises:
        InputError: the file cannot be read or has no query.
    """
    from reranker.demo_data import demo_file
    from reranker.errors import InputError
    from reranker.judgments import load_judgments

    if path is None:
        return list(dict.fromkeys(judgment.query for judgment in load_judgments(demo_file("judgments.csv"))))
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The queries in {path} cannot be read: {error}.", hint="Give a UTF-8 text file with one query per line.") from error
    found = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not found:
        raise InputError(f"{path} has no query.", hint="Give a UTF-8 text file with one query per line.")
    return found
