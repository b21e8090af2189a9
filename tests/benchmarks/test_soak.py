"""The soak's figures for each minute, its picture, and its hostile clients."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from benchmarks.load.outcomes import OUTCOMES, Sent
from benchmarks.soak.command import by_minute, sockets
from benchmarks.soak.picture import draw


def test_each_minute_has_its_latency_and_outcomes() -> None:
    scheduled = np.array([0.0, 30.0, 59.0, 60.0, 120.5])
    outcome = np.array([OUTCOMES.index(name) for name in ("reranked", "reranked", "refused", "bm25 order", "failed")])
    rows = by_minute(Sent(scheduled, scheduled, scheduled + np.array([0.01, 0.02, 0.03, 0.5, 30.0]), outcome), minutes=2)
    assert [(row["minute"], row["requests"], row["p50_ms"], row["most_ms"]) for row in rows] == [(0, 3, 20.0, 30.0), (1, 2, 15_250.0, 30_000.0)]
    assert [(row["reranked"], row["bm25 order"], row["refused"], row["failed"]) for row in rows] == [(2, 0, 1, 0), (0, 1, 0, 1)]


def test_open_sockets_are_counted() -> None:
    before = sockets(os.getpid())
    with socket.socket(), socket.socket():
        assert sockets(os.getpid()) == before + 2
    assert sockets(os.getpid()) == before


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    rows = [{"minute": i, "requests": 60, "p50_ms": 5.0, "p99_ms": 50.0, "refused": i, "failed": 0} for i in range(2)]
    figures = {
        "minutes": 2.0,
        "good_per_s": 1.0,
        "student": "tiny@1",
        "cores": 2,
        "attack_from_to_s": [20.0, 100.0],
        "rss_mb": {"warm": 200.0},
        "by_minute": rows,
        "samples": [[float(i), 200.0 + i, 3 * i] for i in range(120)],
    }
    draw(figures, tmp_path / "soak.png")
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG")
