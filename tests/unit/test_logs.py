"""The log cannot be flooded: repeated lines are counted, and long ones are cut."""

from __future__ import annotations

import io
import logging

import pytest

from reranker.service import logs


@pytest.fixture
def written() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def log(written: io.StringIO) -> logging.Logger:
    handler = logging.StreamHandler(written)
    handler.setFormatter(logs.BoundedFormatter("%(message)s"))
    handler.addFilter(logs.CountRepeated())
    log = logging.Logger("flooded")
    log.addHandler(handler)
    return log


def test_repeated_lines_are_counted(log: logging.Logger, written: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(logs.time, "monotonic", lambda: now)
    for number in [*range(1_000), "last"]:
        now = 100.0 if number == "last" else 0.0
        log.warning("request %s is invalid", number)
    lines = written.getvalue().splitlines()
    assert lines[:-1] == [f"request {number} is invalid" for number in range(5)]
    assert lines[-1] == "request last is invalid (995 like it before were left out)"


def test_other_lines_are_written_during_a_flood(log: logging.Logger, written: io.StringIO) -> None:
    for _ in range(100):
        log.warning("flood")
    log.error("the index is gone")
    assert written.getvalue().splitlines()[-1] == "the index is gone"


def test_long_lines_are_cut_in_the_middle(log: logging.Logger, written: io.StringIO) -> None:
    log.warning("begin %s end", "x" * 100_000)
    line = written.getvalue().strip()
    assert line.startswith("begin x")
    assert line.endswith("x end")
    assert len(line) < logs.MAX_CHARACTERS + 10
