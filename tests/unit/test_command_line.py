"""The frame of the command line: its subcommands, their help, missing extras, shell completion; and `reranker benchmark`."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import typer
from rich.table import Table
from typer.testing import CliRunner

from reranker import plugins
from reranker.cli.app import add_commands, app
from reranker.errors import InputError, MissingExtraError, RerankerError
from reranker.first_stage import check_k, check_query
from reranker.search import TwoStageSearch
from reranker.terminal import Terminal

COMMANDS = ["demo", "search", "index", "vectors", "serve", "evaluate", "benchmark", "distill", "pipeline", "bundle"]


def test_the_help_lists_every_subcommand_and_the_exit_codes() -> None:
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output
    assert [name for name in COMMANDS if f" {name} " not in shown] == []
    for code in ("0 success", "2 unusable input", "3 unusable bundle", "5 the gate refused", "130 Ctrl-C", "143 SIGTERM"):
        assert code in " ".join(shown.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_subcommand_has_help(name: str) -> None:
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert f"reranker {name}" in shown.output or f"{name} [OPTIONS]" in shown.output


@pytest.fixture
def with_a_missing_library(monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    """The command line of an installation in which `distill` cannot be imported."""
    points = {"search": plugins.found(plugins.COMMANDS)["search"], "distill": EntryPoint("distill", "a_library_that_is_missing:command", plugins.COMMANDS)}
    monkeypatch.setattr(plugins, "found", lambda _: points)
    made = typer.Typer()
    add_commands(made)
    return made


def test_a_subcommand_with_missing_libraries_is_listed_and_names_its_extra(with_a_missing_library: typer.Typer) -> None:
    assert "needs the extra distill" in CliRunner().invoke(with_a_missing_library, ["--help"], env={"COLUMNS": "200"}).output
    for arguments in (["distill"], ["distill", "demo", "--run", "x"], ["distill", "--help"]):
        called = CliRunner().invoke(with_a_missing_library, arguments)
        assert isinstance(called.exception, MissingExtraError)
        assert "distill" in str(called.exception)
        assert called.exception.exit_code == 2


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_one_command_installs_completion_for_bash(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("reranker")
    environment = {"PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run(["bash", "-c", "reranker --install-completion; exit $?"], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    press_tab = 'source ~/.bashrc; COMP_WORDS=(reranker ser) COMP_CWORD=1; _reranker_completion reranker; echo "${COMPREPLY[@]}"'
    completed = subprocess.run(["bash", "-c", press_tab], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert completed.stdout.split() == ["serve"], completed.stderr


@pytest.fixture
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RERANKER_HOME", str(tmp_path / "home"))
    path = tmp_path / "catalogue.jsonl"
    path.write_text("".join(json.dumps({"id": str(n), "title": f"laptop {n}"}) + "\n" for n in range(20)), encoding="utf-8")
    return path


def test_benchmark_measures_each_stage(bundle: Path, catalogue: Path, tmp_path: Path) -> None:
    queries = tmp_path / "queries.txt"
    queries.write_text("laptop\n\nlaptop 3\nlaptop\n", encoding="utf-8")
    arguments = ["benchmark", "--bundle", str(bundle), "--catalog", str(catalogue), "--queries", str(queries), "--threads", "1"]
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    measured = json.loads(done.stdout)
    assert (measured["queries"], measured["k"], measured["first_stage"]) == (2, 50, "embedded")
    assert {"first_stage", "rerank"} <= measured["latency_ms"].keys()
    assert all(0 < stage["p50"] <= stage["p95"] for stage in measured["latency_ms"].values())
    table = CliRunner().invoke(app, arguments)
    assert "first stage" in table.output
    assert "p95" in table.output


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_output_to_a_full_disk_is_one_message(catalogue: Path, more: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "reranker", "search", "laptop", "--no-rerank", "--catalog", str(catalogue), *more]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "error: The output cannot be written: No space left on device." in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("query", "told"),
    [("half \ud800 a pair", "character 6 is half of a pair"), ("x" * 1_001, "has 1,001 characters"), (" \x00 ", "is empty")],
)
def test_a_query_that_is_none_is_refused(query: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        check_query(query)


class EmptyFirstStage:
    """A first stage that finds nothing."""

    name = "empty"
    in_process = True

    def search(self, query: str, k: int) -> list:
        return []


@pytest.mark.parametrize("number", [-1, 10_001, 10**400, -(10**5_000)], ids=["negative", "above", "400 digits", "5,000 digits"])
def test_a_number_out_of_range_is_refused_however_long_it_is(number: int) -> None:
    search = TwoStageSearch(EmptyFirstStage(), None)
    for call in (lambda: check_k(number), lambda: search.search("tv", size=number), lambda: search.search("tv", start=number)):
        with pytest.raises(InputError) as caught:
            call()
        assert len(str(caught.value)) < 200


def test_a_message_is_cut_in_the_middle_and_control_characters_are_escaped() -> None:
    error = RerankerError(f"{'x' * 1_000_000}\x1b[31m\ud800: no space left", hint="y" * 1_000_000)
    assert len(str(error)) < 4_500
    assert error.message.endswith(r"xxx\x1b[31m\ud800: no space left")
    assert "998,0" in error.message


def test_a_console_shows_control_characters_escaped_and_keeps_its_own() -> None:
    shown = io.StringIO()
    terminal = Terminal(file=shown, force_terminal=True, color_system="standard", width=60)
    table = Table("title\x1b[2J")
    table.add_row("a \x1b]0;owned\x07 b")
    terminal.print(table)
    terminal.print("\x9b31m", style="red")
    assert r"title\x1b[2J" in shown.getvalue()
    assert r"a \x1b]0;own" in shown.getvalue()
    assert re.findall(r"\x1b(?!\[[\d;]*m)|[\x07\x9b]", shown.getvalue()) == []
    assert "\x1b[31m" in shown.getvalue()


def test_benchmark_refuses_a_file_without_queries(bundle: Path, catalogue: Path, tmp_path: Path) -> None:
    queries = tmp_path / "queries.txt"
    queries.write_text("\n \n", encoding="utf-8")
    done = CliRunner().invoke(app, ["benchmark", "--bundle", str(bundle), "--catalog", str(catalogue), "--queries", str(queries)])
    assert "has no query" in str(done.exception)
