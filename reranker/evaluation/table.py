"""An evaluation as tables for the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from reranker.evaluation.bootstrap import Interval
from reranker.evaluation.report import Evaluation

LABELS = {
    "bm25": "BM25",
    "reranker": "reranker",
    "minilm_cosine": "all-MiniLM-L6-v2 cosine",
    "first_stage": "first stage",
    "rerank": "rerank",
    "rerank_unknown": "rerank, new products",
    "total": "total",
}
_SHOWN = 5


def print_evaluation(evaluation: Evaluation, console: Console) -> None:
    """Print rankings, differences, the largest changes by query, latency, and what was left out."""
    compared = evaluation.comparison
    console.print(f"\n[bold]Judged-only nDCG@10 over {compared.queries} queries of {compared.intents} intents[/] (95 % bootstrap intervals over intents)")
    rankings = Table("ranking", "nDCG@10", "interval")
    for name in compared.rankings:
        interval = compared.interval(name)
        rankings.add_row(LABELS[name], f"{interval.mean:.3f}", _range(interval))
    for name, why in evaluation.absent.items():
        rankings.add_row(LABELS[name], "–", escape(why))
    console.print(rankings)

    differences = Table("difference", "mean", "interval, paired", "wins", "losses", "ties")
    for base in evaluation.bases:
        interval, record = compared.difference("reranker", base), compared.record("reranker", base)
        differences.add_row(f"reranker − {LABELS[base]}", f"{interval.mean:+.3f}", _range(interval, "+"), *map(str, record))
    console.print(differences)

    changes = sorted(zip(compared.changes("reranker", "bm25"), compared.per_query, strict=True), key=lambda pair: -pair[0])
    for title, shown in (
        ("Largest gains over BM25", [c for c in changes[:_SHOWN] if c[0] > 0]),
        ("Largest losses", [c for c in changes[::-1][:_SHOWN] if c[0] < 0]),
    ):
        table = Table("query", "BM25", "reranker", "change", title=title, title_justify="left")
        for change, query in shown:
            table.add_row(escape(query.query), f"{query.ndcg['bm25']:.3f}", f"{query.ndcg['reranker']:.3f}", f"{change:+.3f}")
        if shown:
            console.print(table)

    times = Table(
        "stage", "p50", "p95", "p99", "mean", "searches", title=f"Milliseconds ({evaluation.first_stage}, {evaluation.k} hits reranked)", title_justify="left"
    )
    for stage, t in evaluation.latency.items():
        times.add_row(LABELS[stage], *(f"{ms:.1f}" for ms in t[:4]), str(t.samples))
    console.print(times)

    left_out = evaluation.left_out
    console.print(f"Bundle {escape(evaluation.bundle.manifest.name)}, version {evaluation.bundle.version}; catalogue of {evaluation.products:,} products.")
    if left_out.seen:
        console.print(f"Left out: {len(left_out.seen)} queries that the bundle was trained on (include them with --include-seen).")
    if left_out.indistinct:
        console.print(f"Left out: {len(left_out.indistinct)} queries that cannot distinguish rankings (no product rated 2 or more, or none rated 0).")
    if left_out.unknown_products:
        named = ", ".join(f"{product_id} for '{query}'" for query, product_id in left_out.unknown_products[:3])
        console.print(f"Left out: {len(left_out.unknown_products)} judgments of products that are not in the catalogue: {escape(named)} …")
    for warning in evaluation.warnings:
        console.print(f"[yellow]warning:[/] {escape(warning)}")


def _range(interval: Interval, sign: str = "") -> str:
    return f"{interval.low:{sign}.3f} to {interval.high:{sign}.3f}"
