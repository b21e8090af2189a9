"""``reranker evaluate``: nDCG@10 with intervals, and latency, of BM25 and of the reranker on judged queries."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from reranker.cli.options import DEFAULT_INDEX, AsJson, BundlePath, Catalog, IndexName, Locale, OpenSearch, Vectors, open_first_stage


def evaluate(
    catalog: Catalog = None,
    judgments: Annotated[Path | None, typer.Option("--judgments", metavar="FILE", help="CSV, TREC qrels or ESCI parquet. Default: the demo judgments.")] = None,
    queries: Annotated[Path | None, typer.Option("--queries", metavar="FILE", help="For TREC qrels: the queries' texts, one id<TAB>text per line.")] = None,
    locale: Locale = None,
    bundle: BundlePath = None,
    opensearch: OpenSearch = None,
    index: IndexName = DEFAULT_INDEX,
    vectors: Vectors = None,
    k: Annotated[int, typer.Option("--k", help="How many hits are reranked to measure latency.")] = 50,
    include_seen: Annotated[bool, typer.Option("--include-seen", help="Include queries that the bundle was trained on.")] = False,
    embedder: Annotated[bool, typer.Option("--embedder/--no-embedder", help="Compare with the cosine similarity of all-MiniLM-L6-v2 (extra: distill).")] = True,
    picture: Annotated[Path | None, typer.Option("--picture", metavar="FILE", help="Also draw the report (.png or .svg; extra: plots).")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure BM25 and the reranker on judged queries that the bundle was not trained on."""
    from reranker.demo_data import demo_file
    from reranker.evaluation.report import evaluate as run_evaluation
    from reranker.evaluation.table import print_evaluation
    from reranker.first_stage import check_k
    from reranker.judgments import load_judgments
    from reranker.reranker import Reranker
    from reranker.terminal import Terminal, json_text

    check_k(k)
    if picture is not None:
        from reranker.evaluation.picture import check_picture_path

        check_picture_path(picture)
    loaded = load_judgments(judgments or demo_file("judgments.csv"), queries=queries, locale=locale)
    reranker = Reranker.load(bundle)
    if vectors is not None:
        reranker.use_vectors(vectors)
    if judgments is None and catalog is None and opensearch is None and index == DEFAULT_INDEX:
        catalog = demo_file("products.jsonl.gz")  # the demo judgments need it, whatever the default index holds
    first_stage = open_first_stage(opensearch, index, catalog, quiet=as_json, locale=locale)
    progress = Terminal(stderr=True)
    try:
        with progress.status("…") if progress.is_terminal else nullcontext() as status:
            evaluation = run_evaluation(
                first_stage,
                reranker,
                loaded,
                k=k,
                include_seen=include_seen,
                embedder=embedder,
                say=status.update if status is not None else lambda _: None,
            )
    finally:
        first_stage.close()
    if picture is not None:
        from reranker.evaluation.picture import draw

        draw(evaluation, picture)
    if as_json:
        print(json_text(evaluation.as_dict(), indent=2))
    else:
        print_evaluation(evaluation, Terminal())
