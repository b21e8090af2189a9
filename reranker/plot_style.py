"""Matplotlib helpers: style, empty figure, error bars, and atomic writing of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reranker.errors import MissingExtraError
from reranker.evaluation.bootstrap import Interval
from reranker.folders import whole_file

try:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
except ImportError as error:
    raise MissingExtraError("Drawing a picture", "plots") from error

INK, FAINT = "#24292f", "#d8dee4"
COLOURS = {"bm25": "#6b7785", "minilm_cosine": "#a8820f", "teacher": "#8250df", "label_fusion": "#1a7f37"}
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.fonttype": "none",
    "svg.hashsalt": "reranker",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def new_figure(size: tuple[float, float]) -> Figure:
    """Return an empty white figure of ``size`` inches, for use within ``rc_context(STYLE)``."""
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def reach(interval: Interval) -> list[list[float]]:
    """Return the interval's distances below and above its mean, as ``errorbar`` takes them: [[below], [above]]."""
    return [[max(0.0, interval.mean - interval.low)], [max(0.0, interval.high - interval.mean)]]


def save(figure: Figure, path: Path) -> None:
    """Write the picture as PNG or SVG. An existing file is replaced once the new one is complete."""
    with whole_file(path) as staging:
        figure.savefig(staging, dpi=150, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
