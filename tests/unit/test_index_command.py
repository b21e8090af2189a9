"""`reranker index` with the embedded engine: whole, or not at all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def command(home: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "RERANKER_HOME": str(home)}
    return subprocess.Popen([sys.executable, "-m", "reranker", *arguments], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def catalog(path: Path, ids: range, extra: str = "") -> Path:
    path.write_text("".join(json.dumps({"id": str(i), "title": f"lamp {i}"}) + "\n" for i in ids) + extra, encoding="utf-8")
    return path


def search(home: Path, query: str) -> dict:
    output, errors = command(home, "search", query, "--index", "shop", "--no-rerank", "--json").communicate()
    assert output, errors
    return json.loads(output)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    done = command(home, "index", "--catalog", str(catalog(tmp_path / "old.jsonl", range(3))), "--index", "shop")
    assert done.wait() == 0
    return home


def test_a_broken_catalogue_leaves_the_old_index(home: Path, tmp_path: Path) -> None:
    broken = catalog(tmp_path / "new.jsonl", range(1203), extra='{"id": "x", "title": \n')
    run = command(home, "index", "--catalog", str(broken), "--index", "shop")
    _, errors = run.communicate()
    assert run.returncode == 2
    assert "line 1,204" in errors
    assert "Traceback" not in errors
    assert len(search(home, "lamp")["results"]) == 3
    assert [p.name for p in home.iterdir()] == ["shop"]


def test_lines_left_out_are_named_and_counted(home: Path, tmp_path: Path) -> None:
    broken = catalog(tmp_path / "new.jsonl", range(5), extra='{"id": "x"}\n{"id": "4", "title": "again"}\n')
    run = command(home, "index", "--catalog", str(broken), "--index", "shop", "--skip-invalid", "--json")
    output, _ = run.communicate()
    assert run.returncode == 0
    told = json.dumps(json.loads(output))
    assert "title" in told
    assert "same id" in told
    assert len(search(home, "lamp")["results"]) == 5


def test_a_run_that_is_ended_leaves_the_old_index_and_nothing_else(home: Path, tmp_path: Path) -> None:
    slow = tmp_path / "slow.jsonl"
    os.mkfifo(slow)
    run = command(home, "index", "--catalog", str(slow), "--index", "shop")
    with slow.open("w") as pipe:  # opens once the command reads
        pipe.write(json.dumps({"id": "9", "title": "lamp 9"}) + "\n")
        pipe.flush()
        deadline = time.monotonic() + 60
        while len(list(home.iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        run.send_signal(signal.SIGTERM)
        _, errors = run.communicate(timeout=60)
    assert run.returncode == 143
    assert "Traceback" not in errors
    assert [p.name for p in home.iterdir()] == ["shop"]
    assert len(search(home, "lamp")["results"]) == 3


def test_a_mistyped_index_is_told_and_not_made(home: Path) -> None:
    run = command(home, "search", "lamp", "--index", "shopp", "--no-rerank")
    _, errors = run.communicate()
    assert run.returncode == 4
    assert "shopp" in errors
    assert [p.name for p in home.iterdir()] == ["shop"]


def test_searching_a_catalogue_file_leaves_the_indexes_as_they_are(home: Path, tmp_path: Path) -> None:
    other = catalog(tmp_path / "other.jsonl", range(7))
    output, errors = command(home, "search", "lamp", "--catalog", str(other), "--index", "shop", "--no-rerank", "--json").communicate()
    assert len(json.loads(output)["results"]) == 7, errors
    assert len(search(home, "lamp")["results"]) == 3


def test_a_home_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = command(tmp_path / "file", "search", "lamp", "--no-rerank")
    _, errors = run.communicate()
    assert run.returncode == 2
    assert "RERANKER_HOME" in errors
    assert "Traceback" not in errors
