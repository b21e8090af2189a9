"""Point labels that overlap neither each other, nor a point, nor the edge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

from reranker.plot_style import INK

_MARGIN = 3.0
_POINT = 7.0


def label_points(axes: Axes, points: Sequence[tuple[float, float]], labels: Sequence[str], *, size: float = 8.5) -> None:
    """Write each label at the nearest free place, with a thin line to its point where the two are apart.

    Call it last: limits and size of the axes must not change afterwards.

    Raises:
        ValueError: there is no free place for a label.
    """
    figure = axes.figure
    assert isinstance(figure.canvas, FigureCanvasAgg)
    figure.canvas.draw()
    figure.set_layout_engine("none")  # type: ignore[union-attr]
    renderer = figure.canvas.get_renderer()
    inside = axes.get_window_extent(renderer).padded(-4)
    at = axes.transData.transform(np.asarray(points, dtype=float))
    taken = [Bbox.from_extents(x - _POINT, y - _POINT, x + _POINT, y + _POINT) for x, y in at]
    for (x, y), (px, py), label in zip(points, at, labels, strict=True):
        best = None
        for dx, dy in sorted(_offsets(), key=lambda offset: np.hypot(offset[0], 1.6 * offset[1])):
            text = axes.annotate(
                label,
                (x, y),
                xytext=(dx, dy),
                textcoords="offset points",
                ha="left" if dx > 0 else "right" if dx < 0 else "center",
                va="center",
                fontsize=size,
                color=INK,
                zorder=4,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1},  # error bars pass behind it
            )
            box = text.get_window_extent(renderer).padded(_MARGIN)
            if inside.contains(box.x0, box.y0) and inside.contains(box.x1, box.y1) and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                best = (dx, dy, box)
                break
            text.remove()
        if best is None:
            raise ValueError(f"no room for the label {label!r}")
        if np.hypot(best[0], best[1]) > 14:
            box = best[2]
            end = (np.clip(px, box.x0 + _MARGIN, box.x1 - _MARGIN), np.clip(py, box.y0 + _MARGIN, box.y1 - _MARGIN))
            away = axes.transData.inverted().transform(end)
            axes.plot([x, away[0]], [y, away[1]], color=INK, linewidth=0.5, alpha=0.5, zorder=1)


def _offsets() -> list[tuple[float, float]]:
    """Return candidate offsets of a label from its marker, in points: beside it, above, below, and farther away on all sides."""
    return [(dx, dy) for dx in (0, *(side * far for far in (9, 22, 40, 65, 95) for side in (1, -1))) for dy in range(-230, 231, 11) if abs(dx) + abs(dy) >= 9]
