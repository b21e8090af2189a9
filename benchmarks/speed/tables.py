"""Results as tables in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.speed.comparison import Report
from benchmarks.speed.cost import QUERIES_PER_SECOND, UTILISATION, cost
from benchmarks.speed.profile import Profile, label
from benchmarks.speed.scale import Scale
from benchmarks.speed.statistics import Estimate, percentile


def print_comparison(report: Report, console: Console) -> None:
    """Print quality and latency of every system, and why others were left out."""
    base = next((s for s in report.results if s.ours), report.results[0])
    for k in report.settings.ks:
        table = _table(f"{k} hits: milliseconds a query, 95 % intervals in brackets", "system", "nDCG@10", "p50", "p95", "CPU", f"× {base.label}")
        for result in report.results:
            quality, times, ratio = result.quality, result.times[k], report.ratios[k].get((result.name, base.name))
            table.add_row(
                result.label,
                "untrained head" if quality is None else f"{quality.mean:.3f} ({quality.low:.3f} to {quality.high:.3f})",
                figure(times.p50),
                figure(times.p95),
                _three(times.cpu_p50.value),
                "" if ratio is None else figure(ratio),
            )
        console.print(table)
    for name, why in report.left_out.items():
        console.print(Text(f"Left out: {name}: {why}"), soft_wrap=True)  # holds a command to copy
    about = f"{report.quality_queries} queries for quality, {len(report.queries)} timed {report.settings.rounds} times, {report.machine['threads']} threads"
    console.print(Text(f"{about}; load average {report.machine['load_average']}"))
    if report.settings.quick:
        console.print(Text("A smoke test: too few queries and rounds for conclusions."))


def figure(estimate: Estimate) -> str:
    """Format an estimate with its interval, three significant digits each."""
    return f"{_three(estimate.value)} ({_three(estimate.low)} to {_three(estimate.high)})"


def _three(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _table(title: str, first: str, *others: str) -> Table:
    """Return a table without borders: names in the first column, figures in the others."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column(first)
    for heading in others:
        table.add_column(heading, justify="right")
    return table


def print_profile(profile: Profile, console: Console) -> None:
    """Print the latency of each stage, and what the service adds."""
    told = profile.as_dict()
    title = f"Bundle {profile.bundle}, {profile.hits} hits, product vectors cached: microseconds a query, p50"
    table = _table(title, "stage", "µs", "share")
    for name, took in [*profile.stages.items(), ("rest", profile.rest)]:
        table.add_row(label(name), figure(percentile(took, 50)), f"{told['stages_us'][name]['share']:.0%}")
    console.print(table)
    table = _table("The whole search, compared with first stage plus bare ONNX run", "path", "p50 µs", "p95 µs", "× bare")
    for name, took in profile.wholes.items():
        table.add_row(label(name), figure(percentile(took, 50)), figure(percentile(took, 95)), "" if name == "bare" else figure(profile.ratio(name)))
    console.print(table)


def print_scale(scale: Scale, console: Console) -> None:
    """Print the fitted lines, throughput and cost."""
    table = _table(f"Latency growth, bundle {scale.bundle}", "with", "fixed ms", "µs for each further one")
    lines = {f"hits, {name}": growth.fit for name, growth in scale.hits.items()}
    lines |= {"tokens of a new document, cut by tokens": scale.tokens.fit, "tokens of a new document, cut by characters": scale.characters.fit}
    for name, fit in lines.items():
        table.add_row(name, figure(fit.fixed), figure(Estimate(*(1e3 * value for value in fit.slope))))
    console.print(table)
    table = _table(f"Clients at once, {scale.cost_hits} hits", "clients", "queries/s", "p50 ms", "p95 ms")
    for load in scale.loads:
        table.add_row(str(load.clients), figure(load.throughput), figure(load.p50), figure(load.p95))
    console.print(table)
    title = f"Cost, {scale.cost_hits} hits, at an assumed {scale.core_hour_price:g} a core-hour"
    table = _table(title, "path", "CPU-s a million", "money a million", f"cores for {QUERIES_PER_SECOND:,}/s at {UTILISATION:.0%}")
    for path, cpu_ms in scale.costs.items():
        told = cost(cpu_ms, scale.core_hour_price)
        table.add_row(
            path, f"{told['cpu_seconds_per_million']:,.0f}", f"{told['money_per_million']:.3g}", f"{told[f'cores_for_{QUERIES_PER_SECOND}_per_second']:.3g}"
        )
    console.print(table)
