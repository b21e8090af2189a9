"""A load test as a picture: latency, outcomes, throughput and memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_RERANKED, _BM25, _REFUSED, _FAINT = "#1f6feb", "#9aa5b1", "#d1495b", "#d8dee4"


def draw(figures: dict[str, Any], path: Path) -> None:
    """Draw the result of ``python -m benchmarks load``."""
    figure = Figure(figsize=(12, 8), layout="constrained")
    FigureCanvasAgg(figure)
    (latency, shares), (throughput, memory) = figure.subplots(2, 2)
    levels = figures["levels"]
    offered = [row["offered_per_s"] for row in levels]
    saturating = figures["in_turns"]["answered_per_s"]
    for axes in (latency, shares, throughput):
        axes.axvline(saturating, color=_FAINT, linewidth=6, zorder=0)
        axes.set_xlabel(f"searches offered a second (broad line: {figures['in_turns']['clients']} clients, closed loop)")
        axes.set_xlim(0, max(offered) * 1.03)
    _latency(latency, offered, levels, figures["deadline_ms"])
    _shares(shares, offered, levels)
    _throughput(throughput, offered, levels)
    _memory(memory, figures)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"Under load: {figures['student']}, {figures['cores']} cores shared with the generator, serve {' '.join(figures['serve'])}", fontsize=11)
    figure.savefig(path, dpi=120)


def _latency(axes: Axes, offered: list[float], levels: list[dict[str, Any]], deadline_ms: float) -> None:
    for name, colour in (("p50_ms", "#86b6f7"), ("p95_ms", _RERANKED), ("p99_ms", "#0b3d91")):
        axes.plot(offered, [row[name] for row in levels], marker="o", color=colour, label=name.removesuffix("_ms"))
    axes.axhline(deadline_ms, color=_REFUSED, linestyle="--", linewidth=1, label="deadline")
    axes.set_yscale("log")
    axes.set_ylabel("ms after the scheduled arrival")
    axes.set_title("Latency", loc="left", weight="bold")
    axes.legend(frameon=False)


def _shares(axes: Axes, offered: list[float], levels: list[dict[str, Any]]) -> None:
    names = {"reranked": _RERANKED, "bm25 order": _BM25, "nothing found": _FAINT, "refused": _REFUSED, "failed": "#24292f"}
    shown = [name for name in names if any(row["shares"][name] for row in levels)]
    axes.stackplot(offered, [[row["shares"][name] for row in levels] for name in shown], labels=shown, colors=[names[name] for name in shown])
    axes.plot(offered, [row["share_beyond_deadline"] for row in levels], color="#c9a227", marker="o", label="beyond the deadline")
    axes.set_ylim(0, 1)
    axes.set_ylabel("share of the searches")
    axes.set_title("Outcomes", loc="left", weight="bold")
    axes.legend(frameon=True, loc="lower left")


def _throughput(axes: Axes, offered: list[float], levels: list[dict[str, Any]]) -> None:
    axes.plot([0, max(offered)], [0, max(offered)], color=_FAINT, label="offered")
    axes.plot(offered, [row["answered_per_s"] for row in levels], marker="o", color=_BM25, label="answered")
    axes.plot(offered, [row["reranked_per_s"] for row in levels], marker="o", color=_RERANKED, label="reranked")
    axes.set_ylim(0)
    axes.set_ylabel("searches a second")
    axes.set_title("Throughput", loc="left", weight="bold")
    axes.legend(frameon=False)


def _memory(axes: Axes, figures: dict[str, Any]) -> None:
    watched = figures["memory"]
    if watched is None:
        axes.plot([row["offered_per_s"] for row in figures["levels"]], [row["rss_mb"] for row in figures["levels"]], marker="o", color=_RERANKED)
        axes.set_xlabel("searches offered a second")
        axes.set_title("Memory after each level", loc="left", weight="bold")
    else:
        seconds, megabytes = zip(*watched["rss_mb_by_second"], strict=True)
        axes.plot(seconds, megabytes, color=_RERANKED)
        axes.set_xlabel("seconds")
        axes.set_title(f"Memory over {watched['requests']:,} searches at {watched['offered_per_s']:,.0f} a second", loc="left", weight="bold")
    axes.set_ylim(0, 1.2 * axes.dataLim.ymax)
    axes.set_ylabel("MB in RAM (RSS)")
