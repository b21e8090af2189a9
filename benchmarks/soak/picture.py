"""A soak as a picture: latency, memory and connections over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes

from reranker.plot_style import FAINT, STYLE, new_figure, save

_P50, _P99, _BAD = "#86b6f7", "#0b3d91", "#d1495b"


def draw(figures: dict[str, Any], path: Path) -> None:
    """Draw the result of ``python -m benchmarks soak``."""
    with rc_context(STYLE):
        figure = new_figure((10, 9))
        latency, memory, connections = figure.subplots(3, 1, sharex=True)
        begin, end = (second / 60 for second in figures["attack_from_to_s"])
        for axes in (latency, memory, connections):
            axes.axvspan(begin, end, color=FAINT, alpha=0.5, linewidth=0, zorder=0)
        _latency(latency, figures["by_minute"])
        _over_time(memory, figures["samples"], 1, "Memory of the service, highest since the point before", "MB in RAM (RSS)")
        memory.axhline(figures["rss_mb"]["warm"], color=_P50, linestyle="--", linewidth=1, label="when warm")
        memory.legend(frameon=False, loc="lower right")
        _over_time(connections, figures["samples"], 2, "Open connections, most since the point before", "connections")
        connections.set_xlabel("minutes (grey: with hostile clients)")
        connections.set_xlim(0, figures["minutes"])
        searches = f"{figures['good_per_s']:g} good searches a second"
        figure.suptitle(f"{searches} for {figures['minutes']:g} minutes: {figures['student']}, {figures['cores']} cores shared with all clients", fontsize=11)
        save(figure, path)


def _latency(axes: Axes, rows: list[dict[str, Any]]) -> None:
    middles = [row["minute"] + 0.5 for row in rows]
    for name, colour in (("p50_ms", _P50), ("p99_ms", _P99)):
        axes.plot(middles, [row[name] for row in rows], marker="o", markersize=3, color=colour, label=name.removesuffix("_ms"))
    bad = [row["refused"] + row["failed"] for row in rows]
    axes.set_yscale("log")
    axes.set_ylabel("ms after the scheduled arrival")
    axes.set_title(f"Latency of good searches in each minute; {sum(bad):,} of {sum(row['requests'] for row in rows):,} refused or failed")
    if any(bad):
        beside = axes.twinx()
        beside.bar(middles, bad, color=_BAD, alpha=0.4, width=0.6)
        beside.set_ylabel("refused or failed")
    axes.legend(frameon=False, loc="upper left")


def _over_time(axes: Axes, samples: list[list[float]], column: int, title: str, unit: str) -> None:
    axes.plot([row[0] / 60 for row in samples], [row[column] for row in samples], color=_P99, linewidth=1)
    axes.set_ylim(0)
    axes.set_ylabel(unit)
    axes.set_title(title)
