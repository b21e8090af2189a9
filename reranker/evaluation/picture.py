"""Draws an evaluation: means with intervals, change per query, latency."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from reranker.errors import InputError
from reranker.evaluation.report import Evaluation
from reranker.evaluation.table import LABELS
from reranker.plot_style import FAINT, INK, STYLE, new_figure, reach, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".svg")
_COLOURS = {"bm25": "#9aa5b1", "minilm_cosine": "#c9a227", "reranker": "#1f6feb"}
_GAIN, _LOSS = "#1f6feb", "#d1495b"
_MAX_BARS = 60


def check_picture_path(path: Path) -> Path:
    """Return ``path`` if a picture can be written there.

    Raises:
        InputError: it ends neither in .png nor in .svg, or its folder does not exist.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path} is not a picture.", hint="End it in .png or .svg.")
    if not path.parent.is_dir() or path.is_dir():
        raise InputError(f"{path} cannot be written.", hint="Give a file in a folder that exists.")
    return path


def draw(evaluation: Evaluation, path: Path) -> None:
    """Draw the evaluation to a PNG or SVG file.

    Raises:
        InputError: the file cannot be written there.
    """
    from matplotlib import rc_context

    check_picture_path(path)
    bars = min(evaluation.comparison.queries, _MAX_BARS)
    with rc_context(STYLE):
        figure = new_figure((12, max(5.6, 1.4 + 0.17 * bars)))
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)  # type: ignore[union-attr,call-arg]
        grid = figure.add_gridspec(2, 2, width_ratios=(1, 1.35), height_ratios=(1.25, 1))
        _means(figure.add_subplot(grid[0, 0]), evaluation)
        _latency(figure.add_subplot(grid[1, 0]), evaluation)
        _changes(figure.add_subplot(grid[:, 1]), evaluation)
        try:
            save(figure, path)
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror or error}", hint="Give a file in a folder that you may write to.") from error


def _means(axes: Axes, evaluation: Evaluation) -> None:
    compared = evaluation.comparison
    names = sorted(compared.rankings, key=compared.mean)
    for row, name in enumerate(names):
        interval = compared.interval(name)
        axes.barh(row, interval.mean, color=_COLOURS[name], height=0.5)
        axes.errorbar(interval.mean, row, xerr=reach(interval), color=INK, capsize=4, linewidth=1.3)
    axes.set_yticks(range(len(names)), [f"{LABELS[name]}\n{compared.mean(name):.3f}" for name in names])
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.7, len(names) - 0.3)
    axes.set_xlabel("mean nDCG@10 of judged products, with 95 % intervals")
    axes.set_title(f"Ranking quality on {compared.queries} queries")


def _changes(axes: Axes, evaluation: Evaluation) -> None:
    compared = evaluation.comparison
    changes = sorted(zip(compared.changes("reranker", "bm25").tolist(), (q.query for q in compared.per_query), strict=True))
    cut = len(changes) > _MAX_BARS
    if cut:  # the largest changes are the most informative
        changes = [*changes[: _MAX_BARS // 2], *changes[-_MAX_BARS // 2 :]]
    for row, (change, _) in enumerate(changes):
        axes.barh(row, change, color=_GAIN if change > 0 else _LOSS, height=0.72)
        if abs(change) < 1e-9:
            axes.plot(0, row, marker="o", markersize=3.5, color="#9aa5b1")
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(changes)), [_short(query) for _, query in changes], fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(-0.7, len(changes) - 0.3)
    reach = max(0.1, *(abs(change) for change, _ in changes)) * 1.08
    axes.set_xlim(-reach, reach)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:+.2f}" if value else "0")
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    difference, record = compared.difference("reranker", "bm25"), compared.record("reranker", "bm25")
    axes.set_xlabel(f"change of nDCG@10, reranker − BM25\nmean {difference.mean:+.3f}, 95 % interval {difference.low:+.3f} to {difference.high:+.3f}")
    shown = f", {_MAX_BARS} largest changes" if cut else ""
    axes.set_title(f"By query: {record.wins} better, {record.losses} worse, {record.ties} equal{shown}")


def _latency(axes: Axes, evaluation: Evaluation) -> None:
    stages = [stage for stage in ("rerank_unknown", "total", "rerank", "first_stage") if stage in evaluation.latency]
    most = max(evaluation.latency[stage].p99 for stage in stages)
    for row, stage in enumerate(stages):
        times = evaluation.latency[stage]
        axes.plot([times.p50, times.p99], [row, row], color=FAINT, linewidth=6, solid_capstyle="round", zorder=1)
        for value, colour, size in ((times.p99, "#9aa5b1", 42), (times.p95, "#5b8def", 48), (times.p50, INK, 56)):
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
