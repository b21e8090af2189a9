"""A long step tells how far it is: in a log too, where no bar is drawn."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from reranker.progress import progress


def test_a_log_is_told_once_a_minute_how_far_it_is_and_how_long_it_will_take(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr("reranker.progress.time.monotonic", lambda: now)
    log = io.StringIO()
    with progress("labelling pairs", 10_000, Console(file=log, width=100)) as advance:
        now += 90.0  # a model is loaded
        advance(4_000)  # of a run before
        for _ in range(20):
            now += 6.0
            advance(100)
    assert log.getvalue().splitlines() == [
        "  labelling pairs: 4,000 of 10,000",
        "  labelling pairs: 5,000 of 10,000, 0:05:00 left",
        "  labelling pairs: 6,000 of 10,000, 0:04:00 left",
        "  labelling pairs: 6,000 of 10,000 in 0:03:30",
    ]


def test_nobody_is_told_where_quiet_was_asked_for() -> None:
    log = io.StringIO()
    with progress("labelling pairs", 10, Console(file=log, quiet=True)) as advance:
        advance(10)
    assert log.getvalue() == ""
