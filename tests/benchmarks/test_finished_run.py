"""An experiment refuses runs that cannot answer it, before anything is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.experiments import experiment
from benchmarks.finished_run import open_run
from reranker.bundle import sha256
from reranker.demo_data import demo_file
from reranker.errors import RerankerError
from reranker_distill.recipe import load_recipe


def finished(folder: Path, recipe: str, judgments: Path, *, fold: int = 0) -> Path:
    """Write what is left of a finished run to ``folder``, for what is read of it first."""
    (folder / "6-gate").mkdir(parents=True)
    made = load_recipe(recipe)[0].model_dump(mode="json")
    made["data"]["held_out_fold"] = fold
    (folder / "report.json").write_text(json.dumps({"recipe": made, "stages": {"gate": {"chosen": "student", "ranking": "student_int8"}}}))
    (folder / "6-gate" / "per-query.json").write_text(json.dumps([{"query": "q", "intent": "q", "judged": 2, "ndcg": {"student_int8": 1.0}}]))
    catalog = demo_file("products.jsonl.gz")
    read = {"catalog": str(catalog), "judgments": str(judgments), "sha256": {"catalog": sha256(catalog), "judgments": sha256(judgments)}}
    (folder / "files.json").write_text(json.dumps(read))
    return folder


def made(name: str, runs: list[Path], out: Path) -> dict[str, Any]:
    return experiment(name, runs, out=out, seeds=[13], variant="student", pairs=None, say=lambda _: None)


@pytest.fixture
def judgments(tmp_path: Path) -> Path:
    copy = tmp_path / "judgments.csv"
    copy.write_bytes(demo_file("judgments.csv").read_bytes())
    return copy


def test_judgments_that_have_changed_since_are_not_dealt_anew(tmp_path: Path, judgments: Path) -> None:
    run = finished(tmp_path / "run", "demo", judgments)
    assert open_run(run).split.held_out
    with judgments.open("a") as file:
        file.write("a new query,1001369,3,a new intent,\n")
    with pytest.raises(RerankerError, match=r"judgments\.csv has changed since the run"):
        _ = open_run(run).split


def test_runs_of_other_judgments_are_not_taken_together(tmp_path: Path, judgments: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_bytes(judgments.read_bytes() + b"a new query,1001369,3,a new intent,\n")
    runs = [finished(tmp_path / "one", "demo", judgments), finished(tmp_path / "two", "demo", other, fold=1)]
    with pytest.raises(RerankerError, match="read different judgments"):
        made("cross-validation", runs, tmp_path / "out")


def test_a_run_without_a_teacher_is_not_asked_about_one(tmp_path: Path, judgments: Path) -> None:
    with pytest.raises(RerankerError, match="trains no teacher"):
        made("targets", [finished(tmp_path / "run", "no-judgments", judgments)], tmp_path / "out")
