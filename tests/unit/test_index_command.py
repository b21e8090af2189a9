"""`reranker index` with the embedded engine: it builds the whole index or changes nothing."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import pytest

from reranker.embedded import EmbeddedFirstStage
from tests.commands import run_command


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_command(*arguments, environment={"RERANKER_HOME": str(home)})


def catalog(path: Path, ids: range, extra: str = "") -> Path:
    path.write_text("".join(json.dumps({"id": str(i), "title": f"lamp {i}"}) + "\n" for i in ids) + extra, encoding="utf-8")
    return path


def search(home: Path, query: str) -> dict:
    done = run(home, "search", query, "--index", "shop", "--no-rerank", "--json")
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    assert run(home, "index", "--catalog", str(catalog(tmp_path / "old.jsonl", range(3))), "--index", "shop").returncode == 0
    return home


def test_a_broken_catalogue_leaves_the_old_index(home: Path, tmp_path: Path) -> None:
    broken = catalog(tmp_path / "new.jsonl", range(1203), extra='{"id": "x", "title": \n')
    done = run(home, "index", "--catalog", str(broken), "--index", "shop")
    assert done.returncode == 2
    assert "line 1,204" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(search(home, "lamp")["results"]) == 3
    assert [p.name for p in home.iterdir()] == ["shop"]


def test_skipped_lines_are_listed_and_counted(home: Path, tmp_path: Path) -> None:
    broken = catalog(tmp_path / "new.jsonl", range(5), extra='{"id": "x"}\n{"id": "4", "title": "again"}\n')
    done = run(home, "index", "--catalog", str(broken), "--index", "shop", "--skip-invalid", "--json")
    assert done.returncode == 0
    told = json.dumps(json.loads(done.stdout))
    assert "title" in told
    assert "same id" in told
    assert len(search(home, "lamp")["results"]) == 5


def test_an_interrupted_run_leaves_the_old_index_and_nothing_else(home: Path, tmp_path: Path) -> None:
    slow = tmp_path / "slow.jsonl"
    os.mkfifo(slow)
    command = [sys.executable, "-m", "reranker", "index", "--catalog", str(slow), "--index", "shop"]
    process = subprocess.Popen(command, env={**os.environ, "RERANKER_HOME": str(home)}, text=True, stderr=subprocess.PIPE)
    with slow.open("w") as pipe:  # opens once the command reads
        pipe.write(json.dumps({"id": "9", "title": "lamp 9"}) + "\n")
        pipe.flush()
        deadline = time.monotonic() + 60
        while len(list(home.iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Traceback" not in errors
    assert [p.name for p in home.iterdir()] == ["shop"]
    assert len(search(home, "lamp")["results"]) == 3


def test_a_full_disk_leaves_the_old_index_and_says_what_to_do(home: Path, tmp_path: Path) -> None:
    large = catalog(tmp_path / "large.jsonl", range(5_000))
    command = [sys.executable, "-m", "reranker", "index", "--catalog", str(large), "--index", "shop"]
    done = subprocess.run(
        command,
        env={**os.environ, "RERANKER_HOME": str(home)},
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),  # writing beyond it fails, as on a full disk
    )
    assert done.returncode == 2, done.stderr
    assert f"The index cannot be written to {home / 'shop'}: " in done.stderr
    assert "RERANKER_HOME" in done.stderr
    assert "Traceback" not in done.stderr
    assert [p.name for p in home.iterdir()] == ["shop"]
    assert len(search(home, "lamp")["results"]) == 3


def test_an_index_that_was_being_replaced_is_recovered(home: Path) -> None:
    (home / "shop").rename(home / ".shop.previous")
    (home / ".shop.new").mkdir()
    (home / ".shop.new" / "half").touch()
    assert len(search(home, "lamp")["results"]) == 3
    assert [p.name for p in home.iterdir()] == ["shop"]


def test_two_processes_index_one_after_the_other(home: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "RERANKER_HOME": str(home)}
    catalogues = [catalog(tmp_path / f"{n}.jsonl", range(n)) for n in (400, 500)]
    commands = [[sys.executable, "-m", "reranker", "index", "--catalog", str(path), "--index", "shop"] for path in catalogues]
    for process in [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for command in commands]:
        assert process.wait(60) == 0
    assert EmbeddedFirstStage(home / "shop").count() in (400, 500)
    assert [p.name for p in home.iterdir()] == ["shop"]


def test_control_characters_of_a_catalogue_do_not_reach_the_terminal(home: Path, tmp_path: Path) -> None:
    hostile = "\x1b[2J lamp \x07\x9b31m\u202e"
    rows = [{"id": hostile, "title": hostile}, {"id": hostile, "title": hostile}, {"id": "2", "title": "lamp", hostile: hostile}]
    path = tmp_path / "\x1b[31mfile.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    arguments = ("index", "--catalog", str(path), "--index", "shop")
    outputs = [
        refused := run(home, *arguments),
        listed := run(home, *arguments, "--skip-invalid"),
        as_json := run(home, *arguments, "--skip-invalid", "--json"),
        found := run(home, "search", "lamp", "--index", "shop", "--no-rerank", "--json"),
        run(home, "search", "lamp", "--index", "shop", "--no-rerank"),
        run(home, "search", "nothing" + hostile, "--index", "shop", "--no-rerank"),
        run(home, "index", "--catalog", str(tmp_path / hostile)),
    ]
    for output in outputs:
        shown = (output.stdout + output.stderr).replace("\n", "")
        assert [c for c in shown if unicodedata.category(c) == "Cc" or c == "\u202e"] == []
    assert r"\x1b[2J lamp \x07\x9b31m\u202e" in refused.stderr
    assert r"\x1b[2J lamp" in listed.stdout
    assert json.loads(as_json.stdout)["left_out"][0]["id"] == hostile
    assert hostile in [result["id"] for result in json.loads(found.stdout)["results"]]


def test_a_mistyped_index_is_an_error_and_not_created(home: Path) -> None:
    done = run(home, "search", "lamp", "--index", "shopp", "--no-rerank")
    assert done.returncode == 4
    assert "shopp" in done.stderr
    assert [p.name for p in home.iterdir()] == ["shop"]


def test_searching_a_catalogue_file_leaves_the_indexes_as_they_are(home: Path, tmp_path: Path) -> None:
    other = catalog(tmp_path / "other.jsonl", range(7))
    done = run(home, "search", "lamp", "--catalog", str(other), "--index", "shop", "--no-rerank", "--json")
    assert len(json.loads(done.stdout)["results"]) == 7, done.stderr
    assert len(search(home, "lamp")["results"]) == 3


def test_an_unusable_home_folder_gets_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run(tmp_path / "file", "search", "lamp", "--no-rerank")
    assert done.returncode == 2
    assert "RERANKER_HOME" in done.stderr
    assert "Traceback" not in done.stderr
