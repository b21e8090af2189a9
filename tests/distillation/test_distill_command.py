"""What ``reranker distill`` makes of its options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from reranker.cli.app import app


@pytest.mark.parametrize(("options", "folder"), [((), "small"), (("--fold", "1"), "small-fold1"), (("--fold", "1", "--run", "mine"), "mine")])
def test_a_run_of_another_fold_has_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], folder: str) -> None:
    pytest.importorskip("torch")
    made: list[Path] = []

    def distil(recipe: Any, path: Path, folder: Path, **_: Any) -> dict[str, Any]:
        made.append(folder)
        return {}

    monkeypatch.setattr("reranker_distill.run.distil", distil)
    assert CliRunner().invoke(app, ["distill", "small", *options]).exit_code == 0
    assert made == [Path(folder) if "--run" in options else Path("runs") / folder]
