"""Experiments on a finished run: what they write, and that they resume."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.experiments import data_size, experiment
from benchmarks.experiments.trials import Trials
from tests.benchmarks.commands import run_benchmarks

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_losses_are_compared_and_stored_trials_are_not_repeated(run: Path, tmp_path: Path) -> None:
    words = ["losses", "--run", str(run), "--student", "vectors", "--pairs", "150", "--seeds", "1", "--first-seed", "5", "--out", str(tmp_path)]
    command = [sys.executable, "-m", "benchmarks", "experiment", *words]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    selected = subprocess.run([*command, "--setting", "bce"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert selected.returncode == 0, selected.stderr
    assert [row["setting"] for row in json.loads((tmp_path / "losses.json").read_text())["settings"]] == ["margin_mse", "bce"]  # bce and its base
    trials = (tmp_path / "losses.trials.jsonl").read_text()
    assert {json.loads(line)["seed"] for line in trials.splitlines()} == {5}
    done = subprocess.run([*command, "--json"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result == json.loads((tmp_path / "losses.json").read_text())
    assert [row["setting"] for row in result["settings"]] == ["list_margin_mse", "margin_mse", "bce", "mse"]
    assert all(0 < row["ndcg@10"]["mean"] <= 1 and 150 <= row["pairs"] < 400 for row in result["settings"])
    assert {"bm25", "teacher", "label_fusion"} <= set(result["reference"])
    assert all(-1 <= row["agreement_on_left_out_queries"] <= 1 for row in result["settings"])
    assert (tmp_path / "losses.png").stat().st_size > 10_000
    all_trials = (tmp_path / "losses.trials.jsonl").read_text()
    assert all_trials.startswith(trials)
    assert len(all_trials.splitlines()) == 4


@pytest.mark.slow
def test_a_curve_over_data_sizes(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_size, "SHARES", (1 / 16, 1.0))
    monkeypatch.setattr(data_size, "FEWEST_STEPS", 3)
    result = experiment("data-size", [run], out=tmp_path, seeds=[1, 2], variant="vectors", pairs=None, say=lambda _: None)
    small, whole = result["settings"]
    assert small["pairs"] < whole["pairs"] / 8
    assert len(small["seeds"]) == len(whole["seeds"]) == 2
    assert set(whole["difference"]) >= {"teacher", "minilm_cosine"}
    assert (tmp_path / "data-size.png").stat().st_size > 10_000


@pytest.mark.slow
def test_cross_validation_reports_every_ranking(run: Path, tmp_path: Path) -> None:
    result = experiment("cross-validation", [run], out=tmp_path, seeds=[1], variant="student", pairs=None, say=lambda _: None)
    assert result == json.loads((tmp_path / "cross-validation.json").read_text())
    assert {"teacher", "label_fusion", "bundle", "student_fp32", "vectors_fp32"} <= {row["setting"] for row in result["settings"]}
    report = json.loads((run / "report.json").read_text())["stages"]["gate"]
    bundle = next(row for row in result["settings"] if row["setting"] == "bundle")
    assert bundle["ndcg@10"]["mean"] == pytest.approx(report["ndcg@10"][report["ranking"]], abs=1e-4)
    assert "minilm_cosine" in bundle["difference"]


@pytest.mark.slow
def test_labellers_with_and_without_judgments(run: Path, tmp_path: Path) -> None:
    result = experiment("judges", [run], out=tmp_path, seeds=[1], variant="student", pairs=None, say=lambda _: None)
    assert result["language_models"] == ["gemma-3-270m"]  # the recipe names none
    found = {row["setting"]: row["ndcg@10"]["mean"] for row in result["settings"]}
    gate = json.loads((run / "report.json").read_text())["stages"]["gate"]["ndcg@10"]
    assert found["embedder"] == pytest.approx(gate["minilm_cosine"], abs=0.005)
    assert found["embedder"] > found["language model alone"] > gate["bm25"]
    assert len(set(found.values())) > 4
    assert found["fine-tuned teacher alone"] == pytest.approx(gate["teacher"], abs=1e-4)
    assert found["recipe's embedder + 0.1 fine-tuned teacher"] == pytest.approx(gate["label_fusion"], abs=1e-4)  # the recipe's weight
    assert "recipe's embedder + 0.1 teacher by agreement" in found
    assert (tmp_path / "judges.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["losses", "--run", "RUN", "--student", "wide"], "has no student wide"),
        (["losses", "--run", "RUN", "--setting", "hinge"], "has no setting 'hinge'"),
        (["cross-validation", "--run", "RUN", "--run", "RUN"], "hold out the same fold"),
    ],
)
def test_a_mistake_gets_a_message(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: Sequence[str], message: str
) -> None:
    words = [str(run) if word == "RUN" else word for word in words]
    assert run_benchmarks(monkeypatch, "experiment", *words, "--out", str(tmp_path)) != 0
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("name", "message"),
    [("losses", "No distillation with judgments by this release has been finished"), ("weather", "there is no experiment weather")],
)
def test_a_mistake_gets_a_message_without_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    assert run_benchmarks(monkeypatch, "experiment", name, "--run", str(tmp_path), "--out", str(tmp_path / "out")) != 0
    assert message in " ".join(capsys.readouterr().err.split())


def test_an_incomplete_last_line_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "losses.trials.jsonl"
    whole = {"run": "small-fold0", "setting": "bce", "seed": 1, "pairs": 9, "ndcg": {"laptop": 0.5}, "reads": json.dumps({"pairs": 9})}
    path.write_text(json.dumps(whole) + "\n" + json.dumps({**whole, "seed": 2})[:40])
    assert [trial.seed for trial in Trials(path, {"pairs": 9}, print).done] == [1]
    assert Trials(path, {"pairs": 10}, print).done == []
