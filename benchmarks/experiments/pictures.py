"""Pictures of experiments: a curve over the amount of data, or one row for each setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from benchmarks.experiments.report import LINES, Row
from reranker.evaluation.bootstrap import Interval
from reranker.plot_style import COLOURS, FAINT, INK, STYLE, new_figure, reach, save

_STUDENT = "#1f6feb"
_TITLE_CHARACTERS = 80


def draw_curve(rows: Sequence[Row], lines: Mapping[str, Interval], path: Path, *, title: str, queries: int) -> None:
    """Draw nDCG@10 against the number of labelled pairs: seeds as dots, their mean as a line, the interval over queries as a band.

    A second panel shows the agreement with the labels of left-out queries, where it was measured.
    """
    with rc_context(STYLE):
        pairs = [row.pairs for row in rows]
        followed = [row.agreement for row in rows if row.agreement is not None]
        figure, panels = _figure((12, 5) if followed else (8.5, 5), panels=2 if followed else 1)
        axes = panels[0] if followed else panels
        axes.fill_between(pairs, [r.ndcg.low for r in rows], [r.ndcg.high for r in rows], color=_STUDENT, alpha=0.12, linewidth=0)
        axes.plot(pairs, [r.ndcg.mean for r in rows], color=_STUDENT, marker="o", markersize=6, linewidth=1.6, label="student, mean of seeds")
        for row in rows:
            axes.scatter([row.pairs] * len(row.seeds), row.seeds, color=_STUDENT, s=14, alpha=0.45)
            axes.annotate(f"{row.ndcg.mean:.3f}", (row.pairs, row.ndcg.mean), xytext=(0, 9), textcoords="offset points", ha="center", fontsize=8.5)
        for name, interval in lines.items():
            axes.axhline(interval.mean, color=COLOURS[name], linestyle="--", linewidth=1.2, label=f"{LINES[name]} {interval.mean:.3f}")
        axes.set_ylabel(f"nDCG@10, {queries} held-out queries")
        if followed:
            panels[1].plot([row.pairs for row in rows if row.agreement is not None], followed, color=_STUDENT, marker="o", markersize=6, linewidth=1.6)
            panels[1].set_ylabel("agreement with the labels of queries left out")
        for panel in figure.axes:
            panel.set_xscale("log")
            panel.set_xticks(pairs)
            panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
            panel.xaxis.set_minor_formatter(NullFormatter())
            panel.tick_params(axis="x", labelrotation=30)
            panel.set_xlabel("labelled pairs (logarithmic)")
            panel.grid(color=FAINT, linewidth=0.6)
        figure.legend(*axes.get_legend_handles_labels(), frameon=False, fontsize=8.5, loc="outside lower center", ncols=3)
        _finish(figure, axes, title, path)


def draw_rows(
    rows: Sequence[Row], lines: Mapping[str, Interval], path: Path, *, title: str, queries: int, base: str | None = None, dots: str = "seeds"
) -> None:
    """Draw one row for each setting: mean, interval over queries, and a dot for each seed (or fold).

    With ``base``, a second panel shows the paired differences from it.
    """
    with rc_context(STYLE):
        figure, axes = _figure((11 if base else 8.5, 1.9 + 0.55 * len(rows)), panels=2 if base else 1)
        left, right = axes if base else (axes, None)
        at = {row.setting: len(rows) - i for i, row in enumerate(rows)}
        for row in rows:
            _bar(left, row.ndcg, at[row.setting])
            left.scatter(row.seeds, [at[row.setting] - 0.18] * len(row.seeds), color=_STUDENT, s=12, alpha=0.5)
        left.set_yticks(list(at.values()), [_name(row) for row in rows])
        for name, interval in lines.items():
            left.axvline(interval.mean, color=COLOURS[name], linestyle="--", linewidth=1.2, label=f"{LINES[name]} {interval.mean:.3f}")
        left.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.22 if len(rows) < 4 else -0.14), ncols=2)
        left.set_xlabel(f"nDCG@10, {queries} held-out queries,\n95 % interval; small dots: {dots}")
        left.grid(axis="x", color=FAINT, linewidth=0.6)
        if right is not None:
            for row in rows:
                if row.setting != base:
                    _bar(right, row.difference[str(base)], at[row.setting])
            right.axvline(0, color=INK, linewidth=0.9)
            right.set_ylim(left.get_ylim())
            right.set_yticks([])
            right.set_xlabel(f"difference from {LINES.get(str(base), base)},\npaired by query")
            right.grid(axis="x", color=FAINT, linewidth=0.6)
        _finish(figure, left, title, path)


def _name(row: Row) -> str:
    followed = "" if row.agreement is None else f"; agreement {row.agreement:.3f}"
    return f"{row.setting}\n{row.ndcg.mean:.3f}{followed}"


def _bar(axes: Axes, interval: Interval, y: float) -> None:
    axes.errorbar(interval.mean, y, xerr=reach(interval), fmt="o", color=_STUDENT, capsize=4, markersize=6, linewidth=1.3)


def _figure(size: tuple[float, float], panels: int = 1) -> tuple[Figure, Any]:
    figure = new_figure(size)
    return figure, figure.subplots(1, panels)


def _finish(figure: Figure, axes: Axes, title: str, path: Path) -> None:
    axes.set_title(fill(title, _TITLE_CHARACTERS))
    axes.set_axisbelow(True)
    save(figure, path)
