"""The comparison as a picture: quality against latency, and p50 and p95 of each system."""

from __future__ import annotations

from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks.speed.comparison import Report, SystemResult
from benchmarks.speed.plot_annotations import label_points
from reranker.plot_style import FAINT, INK, STYLE, new_figure, reach, save

_OURS, _OTHERS, _P95 = "#1f6feb", "#6b7785", "#d1495b"


def draw_comparison(report: Report, path: Path) -> None:
    """Write the picture as PNG, atomically."""
    judged = [result for result in report.results if result.quality is not None]
    blank = [result for result in report.results if result.quality is None]
    rows = len(report.results) * len(report.settings.ks)
    with rc_context(STYLE):
        figure = new_figure((16, max(7.0, 2.0 + 0.3 * rows + 0.25 * len(blank))))
        grid = figure.add_gridspec(2, 2, height_ratios=(5, 0.4 + 0.55 * len(blank)), width_ratios=(1.1, 1)) if blank else figure.add_gridspec(1, 2)
        scatter = figure.add_subplot(grid[0, 0])
        _bars(figure.add_subplot(grid[:, 1]), report)
        points = _quality_against_time(scatter, judged, report, last=not blank)
        if blank:
            _without_quality(figure.add_subplot(grid[1, 0], sharex=scatter), blank, report)
        label_points(scatter, points, [f"{s.label}: {s.quality.mean:.3f}, {_ms(_at(s, report).p50.value)}" for s in judged if s.quality is not None])
        save(figure, path)


def _at(result: SystemResult, report: Report):  # type: ignore[no-untyped-def]
    return result.times[report.settings.ks[0]]


def _quality_against_time(axes: Axes, judged: list[SystemResult], report: Report, *, last: bool) -> list[tuple[float, float]]:
    """Draw the systems that have a quality; return their coordinates."""
    times = [_at(result, report).p50.value for result in report.results]
    axes.set_xscale("log")
    axes.set_xlim(min(times) / 3, max(times) * 3)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda ms, _: f"{ms:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    points = []
    for result in judged:
        assert result.quality is not None
        p50 = _at(result, report).p50
        colour = _OURS if result.ours else _OTHERS
        across = [[p50.value - p50.low], [p50.high - p50.value]]
        axes.errorbar(p50.value, result.quality.mean, xerr=across, yerr=reach(result.quality), fmt="none", ecolor=colour, alpha=0.25, linewidth=1.2)
        axes.plot(p50.value, result.quality.mean, "o", color=colour, markersize=7)
        points.append((p50.value, result.quality.mean))
    if judged:
        low, high = min(s.quality.low for s in judged if s.quality), max(s.quality.high for s in judged if s.quality)
        axes.set_ylim(low - 0.12, min(high + 0.06, 1.06))
    axes.set_ylabel(f"nDCG@10, {report.quality_queries} judged queries on unseen intents")
    axes.set_title(f"Quality against latency, {report.settings.ks[0]} hits{' (smoke test)' if report.settings.quick else ''}")
    if last:
        axes.set_xlabel("milliseconds a query, p50 (logarithmic); bars: 95 % intervals")
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    return points


def _without_quality(axes: Axes, blank: list[SystemResult], report: Report) -> None:
    for row, result in enumerate(blank):
        p50 = _at(result, report).p50
        axes.plot(p50.value, row, "o", markerfacecolor="white", markeredgecolor=_OTHERS, markersize=7)
        left = p50.value**2 > axes.get_xlim()[0] * axes.get_xlim()[1]  # right of the middle
        axes.annotate(
            f"{result.label}: {_ms(p50.value)}",
            (p50.value, row),
            xytext=(-9 if left else 9, 0),
            textcoords="offset points",
            va="center",
            ha="right" if left else "left",
            fontsize=8.5,
        )
    axes.set_ylim(len(blank) - 0.4, -0.6)
    axes.set_yticks([])
    axes.set_ylabel("no quality:\nuntrained", rotation=0, ha="right", va="center", fontsize=8.5)
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("milliseconds a query, p50 (logarithmic); bars: 95 % intervals")


def _bars(axes: Axes, report: Report) -> None:
    ks = report.settings.ks
    results = sorted(report.results, key=lambda s: _at(s, report).p50.value)
    least = min(t.p50.value for s in results for t in s.times.values())
    most = max(t.p95.high for s in results for t in s.times.values())
    height = 0.8 / len(ks)
    for row, result in enumerate(results):
        for i, k in enumerate(ks):
            times, y = result.times[k], row + (i - (len(ks) - 1) / 2) * height
            axes.barh(y, times.p50.value, height=height * 0.86, color=_OURS if result.ours else _OTHERS, alpha=1 - 0.45 * i / max(len(ks) - 1, 1))
            axes.plot([times.p50.low, times.p50.high], [y, y], color=INK, linewidth=1.4)
            axes.plot(times.p95.value, y, "|", color=_P95, markersize=9, markeredgewidth=2)
            axes.annotate(
                f"{_ms(times.p50.value)} · {_ms(times.p95.value)}  ({k} hits)",
                (max(times.p95.value, times.p50.high), y),
                xytext=(7, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
    axes.set_xscale("log")
    axes.set_xlim(least / 1.6, most * 60)
    axes.xaxis.set_major_locator(LogLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda ms, _: f"{ms:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks(range(len(results)), [result.label for result in results])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(results) - 0.4, -0.6)
    axes.set_xlabel(
        f"milliseconds a query (logarithmic): bar p50 with its interval, red mark p95; {len(report.queries)} queries, {report.settings.rounds} rounds"
    )
    axes.set_title(f"Latency of scoring and sorting, {report.machine['threads']} threads")
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)


def _ms(value: float) -> str:
    return f"{value:.2f} ms" if value < 10 else f"{value:.1f} ms" if value < 100 else f"{value:,.0f} ms"
