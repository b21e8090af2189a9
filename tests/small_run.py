"""A finished distillation run of the small recipe, shared by all tests that read one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "reranker", "distill"]


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the small recipe that was killed hard while it was labelling, and then started again."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    first = subprocess.Popen([*COMMAND, "small", "--run", str(folder)], env={**os.environ, "HF_HUB_OFFLINE": "1"})
    deadline = time.monotonic() + 1500
    while not list(folder.glob("3-labels/labels-*.parquet")) and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert (folder / "1-teacher" / "stage.json").exists()
    assert not (folder / "bundle").exists()
    kept = {p.name: p.stat().st_mtime_ns for p in folder.glob("3-labels/labels-*.parquet")}
    assert kept
    again = subprocess.run([*COMMAND, "small", "--run", str(folder)], capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert again.returncode == 0, again.stderr
    assert "1-teacher: done before" in again.stderr
    assert {name: (folder / "3-labels" / name).stat().st_mtime_ns for name in kept} == kept
    return folder
