"""An evaluation as a picture: means with intervals, change by query, latency."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from reranker.errors import InputError
from reranker.evaluation.report import Evaluation
from reranker.evaluation.table import LABELS
from reranker.folders import whole_file

SUFFIXES = (".png", ".svg")
_COLOURS = {"bm25": "#9aa5b1", "minilm_cosine": "#c9a227", "reranker": "#1f6feb"}
_GAIN, _LOSS, _INK, _FAINT = "#1f6feb", "#d1495b", "#24292f", "#d8dee4"
_MOST_BARS = 60
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _FAINT,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "svg.fonttype": "none",
    "svg.hashsalt": "reranker",
}


def check_picture_path(path: Path) -> Path:
    """Return the path of a picture to be written.

    Raises:
        InputError: it ends neither in .png nor in .svg, or its folder does not exist.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path} is no picture's name.", hint="End it in .png or .svg.")
    if not path.parent.is_dir() or path.is_dir():
        raise InputError(f"{path} cannot be written.", hint="Give a file in a folder that exists.")
    return path


def draw(evaluation: Evaluation, path: Path) -> None:
    """Write the picture as PNG or SVG, whole or not at all.

    Raises:
        InputError: the file cannot be written there.
    """
    check_picture_path(path)
    bars = min(evaluation.comparison.queries, _MOST_BARS)
    with rc_context(_STYLE):
        figure = Figure(figsize=(12, max(5.6, 1.4 + 0.17 * bars)), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)  # type: ignore[union-attr,call-arg]
        grid = figure.add_gridspec(2, 2, width_ratios=(1, 1.35), height_ratios=(1.25, 1))
        _means(figure.add_subplot(grid[0, 0]), evaluation)
        _latency(figure.add_subplot(grid[1, 0]), evaluation)
        _changes(figure.add_subplot(grid[:, 1]), evaluation)
        try:
            with whole_file(path) as staging:
                figure.savefig(staging, dpi=150, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror or error}", hint="Give a file in a folder that you may write to.") from error


def _means(axes: Axes, evaluation: Evaluation) -> None:
    compared = evaluation.comparison
    names = sorted(compared.rankings, key=compared.mean)
    for row, name in enumerate(names):
        mean, low, high = compared.interval(name)
        axes.barh(row, mean, color=_COLOURS[name], height=0.5)
        axes.errorbar(mean, row, xerr=[[max(0.0, mean - low)], [max(0.0, high - mean)]], color=_INK, capsize=4, linewidth=1.3)
    axes.set_yticks(range(len(names)), [f"{LABELS[name]}\n{compared.mean(name):.3f}" for name in names])
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.7, len(names) - 0.3)
    axes.set_xlabel("mean nDCG@10 of judged products, with 95 % intervals")
    axes.set_title(f"Ranking quality on {compared.queries} queries")


def _changes(axes: Axes, evaluation: Evaluation) -> None:
    compared = evaluation.comparison
    changes = sorted(zip(compared.changes("reranker", "bm25").tolist(), (q.query for q in compared.per_query), strict=True))
    cut = len(changes) > _MOST_BARS
    if cut:  # the ends tell most
        changes = [*changes[: _MOST_BARS // 2], *changes[-_MOST_BARS // 2 :]]
    for row, (change, _) in enumerate(changes):
        axes.barh(row, change, color=_GAIN if change > 0 else _LOSS, height=0.72)
        if abs(change) < 1e-9:
            axes.plot(0, row, marker="o", markersize=3.5, color="#9aa5b1")
    axes.axvline(0, color=_INK, linewidth=0.8)
    axes.set_yticks(range(len(changes)), [_short(query) for _, query in changes], fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(-0.7, len(changes) - 0.3)
    reach = max(0.1, *(abs(change) for change, _ in changes)) * 1.08
    axes.set_xlim(-reach, reach)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:+.2f}" if value else "0")
    axes.grid(axis="x", color=_FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    difference, record = compared.difference("reranker", "bm25"), compared.record("reranker", "bm25")
    axes.set_xlabel(f"change of nDCG@10, reranker − BM25\nmean {difference.mean:+.3f}, 95 % interval {difference.low:+.3f} to {difference.high:+.3f}")
    shown = f", {_MOST_BARS} largest changes" if cut else ""
    axes.set_title(f"By query: {record.wins} better, {record.losses} worse, {record.ties} equal{shown}")


def _latency(axes: Axes, evaluation: Evaluation) -> None:
    stages = [stage for stage in ("rerank_unknown", "total", "rerank", "first_stage") if stage in evaluation.latency]
    most = max(evaluation.latency[stage].p99 for stage in stages)
    for row, stage in enumerate(stages):
        times = evaluation.latency[stage]
        axes.plot([times.p50, times.p99], [row, row], color=_FAINT, linewidth=6, solid_capstyle="round", zorder=1)
        for value, colour, size in ((times.p99, "#9aa5b1", 42), (times.p95, "#5b8def", 48), (times.p50, _INK, 56)):
            axes.scatter(value, row, color=colour, s=size, zorder=2)
        axes.text(times.p99 + 0.03 * most, row, f"{times.p50:.1f} · {times.p95:.1f} · {times.p99:.1f}", va="center", fontsize=8.5)
    axes.set_yticks(range(len(stages)), [LABELS[stage] for stage in stages])
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, most * 1.42)
    axes.set_ylim(-0.6, len(stages) - 0.4)
    axes.set_xlabel(f"milliseconds over {evaluation.latency['first_stage'].samples} searches: p50 · p95 · p99")
    axes.set_title(f"Latency, {evaluation.k} hits reranked ({evaluation.first_stage})")


def _short(query: str) -> str:
    text = query.replace("$", r"\$")
    return text if len(text) <= 34 else f"{text[:33]}…"
