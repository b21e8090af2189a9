"""The ladder as a picture: quality against latency, with BM25 and the off-the-shelf embedder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from distill.gate.verdict import Standing
from reranker.evaluation import Comparison
from reranker.evaluation.embedder import NAME as EMBEDDER

_STUDENT, _BM25, _EMBEDDER, _BUDGET, _INK = "#1f6feb", "#6b7785", "#a8820f", "#d1495b", "#24292f"
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": _INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw_ladder(ladder: Sequence[Standing], measured: Comparison, bm25_ms: float, budget_ms: float | None, path: Path) -> None:
    """Write the picture as PNG, whole or not at all.

    Args:
        ladder: the rungs; each at its p50 for reranking 50 hits.
        bm25_ms: what the first stage takes alone, p50. The embedder is drawn as a line: its products' vectors can be made ahead.
    """
    with rc_context(_STYLE):
        figure = Figure(figsize=(8.5, 5), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.set_xscale("log")
        label: dict[str, Any] = {"textcoords": "offset points", "fontsize": 8.5}
        points = [("BM25 alone", bm25_ms, measured.interval("bm25"), _BM25)]
        points += [(f"{s.rung}\n{s.megabytes:.0f} MB", s.p50_ms, s.interval, _STUDENT) for s in ladder if s.interval]
        for name, ms, interval, colour in points:
            bars = [[max(0.0, interval.mean - interval.low)], [max(0.0, interval.high - interval.mean)]]
            axes.errorbar(ms, interval.mean, yerr=bars, fmt="o", color=colour, capsize=4, markersize=7, linewidth=1.2)
            axes.annotate(
                f"{name}\n{interval.mean:.3f}, {ms:.1f} ms", (ms, interval.mean), xytext=(8, 6), textcoords="offset points", fontsize=8.5, color=colour
            )
        by_speed = sorted(ladder, key=lambda s: s.p50_ms)
        axes.plot([s.p50_ms for s in by_speed], [s.interval.mean for s in by_speed if s.interval], color=_STUDENT, linewidth=1, alpha=0.4)
        if EMBEDDER in measured.rankings:
            mean = measured.mean(EMBEDDER)
            axes.axhline(mean, color=_EMBEDDER, linestyle="--", linewidth=1.2)
            name = f"all-MiniLM-L6-v2 cosine {mean:.3f}"
            axes.annotate(name, (0.99, mean), xycoords=("axes fraction", "data"), xytext=(0, 4), ha="right", color=_EMBEDDER, **label)
        if budget_ms is not None:
            axes.axvline(budget_ms, color=_BUDGET, linewidth=1.2)
            axes.annotate(f"budget {budget_ms:g} ms", (budget_ms, 0.02), xycoords=("data", "axes fraction"), xytext=(4, 0), color=_BUDGET, **label)
        times = [ms for _, ms, _, _ in points] + ([budget_ms] if budget_ms is not None else [])
        axes.set_xlim(max(min(times), 0.05) / 1.6, max(times) * 3.5)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda ms, _: f"{ms:g}"))
        axes.set_xlabel("milliseconds, p50: BM25's search; reranking 50 hits (logarithmic)")
        axes.set_ylabel(f"nDCG@10, {measured.queries} held-out queries, 95 % interval")
        axes.set_title("Quality against latency")
        axes.grid(color="#d8dee4", linewidth=0.6)
        axes.set_axisbelow(True)
        staging = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
        try:
            figure.savefig(staging, dpi=150)
            staging.replace(path)
        finally:
            staging.unlink(missing_ok=True)
