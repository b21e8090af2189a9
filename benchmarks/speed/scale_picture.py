"""Latency growth and cost as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from benchmarks.speed.cost import QUERIES_PER_SECOND, UTILISATION, cost
from benchmarks.speed.scale import Growth, Scale
from benchmarks.speed.statistics import Estimate, percentile
from reranker.plot_style import FAINT, INK, STYLE, new_figure, save

_COLOURS = ("#1f6feb", "#d1495b", "#1a7f37")


def draw_scale(scale: Scale, path: Path) -> None:
    """Write the picture as PNG, atomically."""
    with rc_context(STYLE):
        figure = new_figure((14, 10))
        grid = figure.add_gridspec(2, 2)
        _hits(figure.add_subplot(grid[0, 0]), scale)
        _length(figure.add_subplot(grid[0, 1]), scale)
        _clients(figure.add_subplot(grid[1, 0]), scale)
        _cost(figure.add_subplot(grid[1, 1]), scale)
        for axes in figure.axes:
            axes.set_axisbelow(True)
        save(figure, path)


def _points(axes: Axes, growth: Growth, colour: str, label: str) -> None:
    x = np.median(growth.x, axis=1)
    estimates = [percentile(took[None], 50) for took in growth.took]
    axes.errorbar(x, [e.value for e in estimates], yerr=_reach(estimates), fmt="o", color=colour, capsize=3, linewidth=1.2, label=label)
    along = np.linspace(x.min(), x.max(), 200)
    axes.plot(along, growth.fit.fixed.value + growth.fit.slope.value * along, color=colour, linewidth=1, alpha=0.7)


def _hits(axes: Axes, scale: Scale) -> None:
    for (name, growth), colour in zip(scale.hits.items(), _COLOURS, strict=False):
        fit = growth.fit
        _points(axes, growth, colour, f"{name}: {fit.fixed.value:.2f} ms {fit.slope.value * 1e3:+,.1f} µs a hit")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(np.median(next(iter(scale.hits.values())).x, axis=1))
    axes.xaxis.set_minor_locator(NullLocator())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("hits reranked (logarithmic)")
    axes.set_ylabel("milliseconds a query, p50 (logarithmic)")
    axes.set_title(f"Hits, bundle {scale.bundle}")
    axes.legend(frameon=False, fontsize=8.5)
    axes.grid(color=FAINT, linewidth=0.6)


def _length(axes: Axes, scale: Scale) -> None:
    for growth, colour, by in ((scale.tokens, _COLOURS[0], "tokens"), (scale.characters, _COLOURS[1], "characters")):
        fit = growth.fit
        _points(axes, growth, colour, f"cut by {by}: {fit.fixed.value:.2f} ms {fit.slope.value * 1e3:+.1f} µs a token")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("mean tokens of a document that the student reads")
    axes.set_ylabel("milliseconds a document, p50")
    axes.set_title(f"Length of documents, {scale.length_hits} new products a query")
    axes.legend(frameon=False, fontsize=8.5, loc="upper left")
    axes.grid(color=FAINT, linewidth=0.6)


def _clients(axes: Axes, scale: Scale) -> None:
    clients = [load.clients for load in scale.loads]
    for estimates, colour, label in (
        ([load.p50 for load in scale.loads], _COLOURS[0], "latency, p50"),
        ([load.p95 for load in scale.loads], _COLOURS[1], "latency, p95"),
    ):
        axes.errorbar(clients, [e.value for e in estimates], yerr=_reach(estimates), color=colour, marker="o", capsize=3, linewidth=1.2, label=label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(clients, [f"{load.clients}\n{load.throughput.value:,.0f}/s" for load in scale.loads])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(bottom=0)
    axes.set_xlabel("clients at once; below: queries a second")
    axes.set_ylabel("milliseconds a query")
    axes.set_title(f"Clients at once, {scale.cost_hits} hits, {scale.machine['threads']} threads a run")
    axes.legend(frameon=False, fontsize=8.5)
    axes.grid(color=FAINT, linewidth=0.6)


def _cost(axes: Axes, scale: Scale) -> None:
    costs = {path: cost(cpu_ms, scale.core_hour_price) for path, cpu_ms in sorted(scale.costs.items(), key=lambda item: item[1])}
    cores = [told[f"cores_for_{QUERIES_PER_SECOND}_per_second"] for told in costs.values()]
    for row, (number, told) in enumerate(zip(cores, costs.values(), strict=True)):
        axes.barh(row, number, height=0.5, color=_COLOURS[0])
        text = f"{number:,.1f} cores; a million: {told['cpu_seconds_per_million']:,.0f} CPU-s, {told['money_per_million']:.3g}"
        axes.annotate(text, (number, row), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8.5, color=INK)
    axes.set_xscale("log")
    axes.set_xlim(min(cores) / 3, max(cores) * 300)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks(range(len(costs)), [path.replace(", ", ",\n") for path in costs])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(costs) - 0.4, -0.6)
    axes.set_xlabel(f"cores for {QUERIES_PER_SECOND:,} queries/s at {UTILISATION:.0%} utilisation (logarithmic)")
    axes.set_title(f"Cost, {scale.cost_hits} hits, at an assumed {scale.core_hour_price:g} a core-hour")
    axes.grid(axis="x", color=FAINT, linewidth=0.6)


def _reach(estimates: list[Estimate]) -> list[list[float]]:
    return [[e.value - e.low for e in estimates], [e.high - e.value for e in estimates]]
