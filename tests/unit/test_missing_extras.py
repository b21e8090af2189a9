"""What a user reads if the libraries of an extra are missing, by how the project was installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from reranker import errors
from reranker.errors import MissingExtraError

HIDE = "import sys; sys.modules[{!r}] = None; from reranker.cli.app import main; sys.argv = ['reranker', *{!r}]; main()"


class Installed:
    """A distribution with the given ``direct_url.json``."""

    def __init__(self, origin: dict[str, object] | None) -> None:
        self._origin = origin

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return None if self._origin is None else json.dumps(self._origin)


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        (None, 'pip install "distilled-reranker[distill]"'),
        ({"url": "file:///home/me/checkout", "dir_info": {}}, 'pip install "distilled-reranker[distill] @ file:///home/me/checkout"'),
        ({"url": "file:///tmp/x-1.0-py3-none-any.whl", "archive_info": {}}, 'pip install "distilled-reranker[distill] @ file:///tmp/x-1.0-py3-none-any.whl"'),
        (
            {"url": "https://git.example/x.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            'pip install "distilled-reranker[distill] @ git+https://git.example/x.git@abc"',
        ),
    ],
    ids=["index", "checkout", "wheel", "git"],
)
def test_the_hint_installs_the_extra_from_where_the_project_came(origin: dict[str, object] | None, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "distribution", lambda name: Installed(origin))
    assert str(MissingExtraError("reranker distill", "distill")) == f"reranker distill needs libraries that are not installed.\nInstall them: {command}"


@pytest.mark.parametrize(
    ("library", "extra", "arguments"),
    [
        ("matplotlib", "plots", ["evaluate", "--picture", "picture.png"]),
        ("opensearchpy", "opensearch", ["search", "laptop", "--opensearch", "http://127.0.0.1:1"]),
        ("opensearchpy", "opensearch", ["index", "--opensearch", "http://127.0.0.1:1"]),
        ("opensearchpy", "opensearch", ["pipeline", "status", "--opensearch", "http://127.0.0.1:1"]),
    ],
)
def test_a_command_says_which_extra_it_needs(library: str, extra: str, arguments: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HIDE.format(library, arguments)],
        cwd=tmp_path,
        env={"RERANKER_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert f"distilled-reranker[{extra}]" in done.stderr
    assert "Traceback" not in done.stderr
