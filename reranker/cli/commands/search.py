"""``reranker search``: shows BM25's order and the reranked order side by side."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from reranker.cli.commands.serve import BudgetMs, K
from reranker.cli.options import DEFAULT_INDEX, AsJson, BundlePath, Catalog, IndexName, OpenSearch, Vectors, open_first_stage, output_console

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from reranker.search import Result, SearchResponse

_SIDE_BY_SIDE = 90  # columns; a narrower terminal gets one list


def search(
    query: Annotated[str, typer.Argument(help='What a shopper would type, such as "gaming laptop".')],
    size: Annotated[int, typer.Option(help="How many results to show.")] = 10,
    k: K = 50,
    bundle: BundlePath = None,
    catalog: Catalog = None,
    index: IndexName = DEFAULT_INDEX,
    opensearch: OpenSearch = None,
    budget_ms: BudgetMs = None,
    vectors: Vectors = None,
    rerank: Annotated[bool, typer.Option("--rerank/--no-rerank", help="--no-rerank shows BM25 order only.")] = True,
    as_json: AsJson = False,
) -> None:
    """Search a catalogue and show BM25's order and the reranked order side by side."""
    from reranker.errors import InputError
    from reranker.first_stage import check_k, check_query, written
    from reranker.reranker import Reranker
    from reranker.search import MAX_DEPTH, TwoStageSearch

    query = check_query(query)
    check_k(k)
    if not 1 <= size <= MAX_DEPTH:
        raise InputError(f"size is {written(size)}.", hint=f"Show between 1 and {MAX_DEPTH:,} results.")
    student = Reranker.load(bundle) if rerank else None
    if student is not None:  # the first run of a model is slow and would distort the time shown
        if vectors is not None:
            student.use_vectors(vectors)
        student.score("warm up", ["laptop"] * min(k, 50))
    searcher = TwoStageSearch(open_first_stage(opensearch, index, catalog), student, k=k, budget_ms=budget_ms)
    try:
        # BM25's column needs its best hits, wherever the student put them
        response = searcher.search(query, size=size if as_json else max(size, min(k, MAX_DEPTH)), rerank=rerank)
    finally:
        searcher.close()
    if as_json:
        from reranker.terminal import json_text

        print(json_text(response.as_dict(), indent=2))
    else:
        _show(response, size)


def _show(response: SearchResponse, size: int) -> None:
    from rich.text import Text

    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # for terminals that cannot print ▲
    console = output_console()
    if not response.results:
        console.print(Text(f'No products found for "{response.query}".'))
        return
    if not response.reranked:
        console.print(_bm25(response.results[:size], moved=False))
    elif console.width < _SIDE_BY_SIDE:
        console.print(_reranked(response.results[:size]))
    else:
        by_bm25 = sorted(response.results, key=lambda result: result.bm25_rank)
        console.print(_side_by_side(by_bm25[:size], response.results[:size], console))
    took = response.took_ms
    happened = f"{response.scored:,} hits reranked in {took['rerank']:.1f} ms" if response.reranked else f"not reranked: {response.fallback_reason}"
    console.print(Text(f"BM25 {took['first_stage']:.1f} ms · {happened}", style="dim"))


def _side_by_side(bm25: list[Result], reranked: list[Result], console: Console) -> Table:
    from rich.table import Table

    table = Table.grid(padding=(0, 3), expand=False)
    width = (console.width - 3) // 2
    left, right = _bm25(bm25, moved=True), _reranked(reranked)
    left.width = right.width = width
    table.add_row(left, right)
    return table


def _table(heading: str) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0), title=heading, title_justify="left", title_style="bold", show_header=True, header_style="dim")
    table.add_column("#", justify="right", no_wrap=True)
    return table


def _bm25(results: list[Result], *, moved: bool) -> Table:
    """Return BM25's order as a table; ``moved`` adds each product's reranked place."""
    table = _table("BM25")
    if moved:
        table.add_column("to", justify="right", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("product", no_wrap=True, overflow="ellipsis", ratio=1)
    for result in results:
        cells: list[str | Text] = [str(result.bm25_rank), *([f"→{result.rank}"] if moved else []), f"{result.bm25_score:.2f}", _title(result)]
        table.add_row(*cells)
    return table


def _reranked(results: list[Result]) -> Table:
    """Return the student's order as a table, with how far each product moved."""
    table = _table("Reranked")
    table.add_column("moved", justify="right", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("product", no_wrap=True, overflow="ellipsis", ratio=1)
    for result in results:
        score = "" if result.student_score is None else f"{result.student_score:.3f}"
        table.add_row(str(result.rank), _movement(result), score, _title(result))
    return table


def _movement(result: Result) -> Text:
    from rich.text import Text

    up = result.bm25_rank - result.rank
    if up == 0:
        return Text("=", style="dim")
    return Text(f"▲{up}", style="green") if up > 0 else Text(f"▼{-up}", style="red")


def _title(result: Result) -> Text:
    from rich.text import Text

    from reranker.text import clean

    return Text(clean(str(result.product.get("title") or result.product_id)))
