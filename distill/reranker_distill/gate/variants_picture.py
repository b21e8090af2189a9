"""The variants as a picture: quality against latency, with BM25 and the off-the-shelf embedder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from reranker.evaluation import Comparison
from reranker.evaluation.bootstrap import Interval
from reranker.evaluation.embedder import NAME as EMBEDDER
from reranker.plot_style import COLOURS, FAINT, STYLE, new_figure, reach, save
from reranker_distill.gate.neighbours import with_neighbours
from reranker_distill.gate.verdict import Standing

_BUDGET = "#d1495b"


def draw_variants(variants: Sequence[Standing], measured: Comparison, bm25_ms: float, budget_ms: float | None, path: Path) -> None:
    """Write the picture as PNG, whole or not at all.

    Args:
        variants: the variants; each at its p50 for reranking 50 hits, and hollow at that where no product's vector is known. A star is
            what those have whose vectors lean on their neighbours'.
        bm25_ms: what the first stage takes alone, p50. The embedder is drawn as a line: its products' vectors can be made ahead.
    """
    with rc_context(STYLE):
        figure = new_figure((10, max(4.8, 1.4 + 0.62 * len(variants))))  # as high as its legend
        axes = figure.add_subplot()
        axes.set_xscale("log")
        bm25 = measured.interval("bm25")
        _point(axes, bm25_ms, bm25, COLOURS["bm25"], f"BM25 alone: {bm25.mean:.3f}, {bm25_ms:.1f} ms")
        colours = colormaps["viridis"](np.linspace(0, 0.75, len(variants)))
        for standing, colour in zip(variants, colours, strict=True):
            if standing.interval is None:
                continue
            new, leaning = standing.p50_unknown_ms, with_neighbours(standing.variant)
            told = f"{standing.variant}: {standing.interval.mean:.3f}, {standing.p50_ms:.1f} ms, {standing.megabytes:.0f} MB"
            if new is not None:
                axes.plot(new, standing.interval.mean, "o", markerfacecolor="white", markeredgecolor=colour, markersize=7)
                told += f"\n  hollow: {new:.0f} ms where products are new"
            if leaning in measured.rankings:
                axes.plot(standing.p50_ms, measured.mean(leaning), "*", color=colour, markersize=13)
                told += f"\n  star: {measured.mean(leaning):.3f} with the catalogue's vectors"
            _point(axes, standing.p50_ms, standing.interval, colour, told)
        if EMBEDDER in measured.rankings:
            mean = measured.mean(EMBEDDER)
            axes.axhline(mean, color=COLOURS[EMBEDDER], linestyle="--", linewidth=1.2, label=f"all-MiniLM-L6-v2 cosine: {mean:.3f}")
        if budget_ms is not None:
            axes.axvline(budget_ms, color=_BUDGET, linewidth=1.2, label=f"budget {budget_ms:g} ms")
        figure.legend(loc="outside right upper", frameon=False, fontsize=8.5, labelspacing=0.9)
        times = [bm25_ms, *(s.p50_ms for s in variants), *(s.p50_unknown_ms for s in variants if s.p50_unknown_ms is not None)]
        times += [budget_ms] if budget_ms is not None else []
        axes.set_xlim(max(min(times), 0.05) / 1.6, max(times) * 1.6)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda ms, _: f"{ms:g}"))
        axes.set_xlabel("milliseconds, p50: BM25's search; reranking 50 hits (logarithmic)")
        axes.set_ylabel(f"nDCG@10, {measured.queries} held-out queries, 95 % interval")
        axes.set_title("Quality against latency")
        axes.grid(color=FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        save(figure, path)


def _point(axes: Axes, ms: float, interval: Interval, colour: Any, label: str) -> None:
    axes.errorbar(ms, interval.mean, yerr=reach(interval), fmt="o", color=colour, capsize=4, markersize=7, linewidth=1.2, label=label)
