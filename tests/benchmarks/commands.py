"""Runs ``python -m benchmarks`` in this process."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import main


def run_benchmarks(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Run a command and return its exit code; output goes to ``capsys``."""
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr("sys.argv", ["python -m benchmarks", *words])
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0
