"""The benchmark's findings as tables in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reranker.benchmark.comparison import Report
from reranker.benchmark.statistics import Estimate


def print_comparison(report: Report, console: Console) -> None:
    """Print every contender's quality and times, and who was left out and why."""
    base = next((s for s in report.standings if s.ours), report.standings[0])
    for k in report.settings.ks:
        table = Table(title=f"{k} hits: milliseconds a query, 95 % intervals in brackets", title_justify="left", box=None, padding=(0, 2, 0, 0))
        table.add_column("contender")
        for heading in ("nDCG@10", "p50", "p95", "CPU", f"× {base.label}"):
            table.add_column(heading, justify="right")
        for standing in report.standings:
            quality, times, ratio = standing.quality, standing.times[k], report.ratios[k].get((standing.name, base.name))
            table.add_row(
                standing.label,
                "untrained head" if quality is None else f"{quality.mean:.3f} ({quality.low:.3f} to {quality.high:.3f})",
                figure(times.p50),
                figure(times.p95),
                _three(times.cpu_p50.value),
                "" if ratio is None else figure(ratio),
            )
        console.print(table)
    for name, why in report.left_out.items():
        console.print(Text(f"Left out: {name}: {why}"))
    about = f"{report.quality_queries} queries for quality, {len(report.queries)} timed {report.settings.rounds} times, {report.machine['threads']} threads"
    console.print(Text(f"{about}; load average {report.machine['load_average']}"))
    if report.settings.quick:
        console.print(Text("A quick look: too few queries and rounds to conclude from."))


def figure(estimate: Estimate) -> str:
    """Write a figure with its interval, three significant digits each."""
    return f"{_three(estimate.value)} ({_three(estimate.low)} to {_three(estimate.high)})"


def _three(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
