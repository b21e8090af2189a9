"""Experiments on a finished run: what they leave, and that they go on where they were stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.experiments import data_size, experiment, learning
from benchmarks.experiments.trials import Trials

pytestmark = pytest.mark.slow


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "reranker", "experiment", *words], capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})


def test_losses_are_compared_and_not_tried_twice(run: Path, tmp_path: Path) -> None:
    words = ["losses", "--run", str(run), "--student", "narrow", "--pairs", "150", "--seeds", "1", "--out", str(tmp_path)]
    done = command(*words)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "losses.json").read_text())
    assert [row["setting"] for row in result["settings"]] == ["list_margin_mse", "margin_mse", "bce", "mse", "ranknet", "lambda", "blend"]
    assert all(0 < row["ndcg@10"]["mean"] <= 1 and 150 <= row["pairs"] < 400 for row in result["settings"])
    assert {"bm25", "teacher", "committee"} <= set(result["reference"])
    assert all(-1 <= row["agreement_on_left_out_queries"] <= 1 for row in result["settings"])
    assert (tmp_path / "losses.png").stat().st_size > 10_000
    trials = (tmp_path / "losses.trials.jsonl").read_bytes()
    again = command(*words, "--json")
    assert json.loads(again.stdout) == result
    assert (tmp_path / "losses.trials.jsonl").read_bytes() == trials


def test_a_curve_over_data_sizes(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_size, "SHARES", (1 / 16, 1.0))
    monkeypatch.setattr(data_size, "FEWEST_STEPS", 3)
    result = experiment("data-size", [run], out=tmp_path, seeds=[1, 2], variant="narrow", pairs=None, say=lambda _: None)
    small, whole = result["settings"]
    assert small["pairs"] < whole["pairs"] / 8
    assert len(small["seeds"]) == len(whole["seeds"]) == 2
    assert set(whole["difference"]) >= {"teacher", "minilm_cosine"}
    assert (tmp_path / "data-size.png").stat().st_size > 10_000


def test_how_fast_and_how_long_a_student_learns(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "TRIED", {learning.BASE: (1.0, 1.0), "hardly at all": (1e-6, 1.0)})
    result = experiment("learning", [run], out=tmp_path, seeds=[1], variant="vectors", pairs=None, say=lambda _: None)
    learnt, untaught = result["settings"]
    assert learnt["pairs"] == untaught["pairs"] > 100
    assert learnt["agreement_on_left_out_queries"] > untaught["agreement_on_left_out_queries"] + 0.01
    assert learning.BASE in untaught["difference"]
    assert (tmp_path / "learning.png").stat().st_size > 10_000


def test_cross_validation_tells_every_ranking(run: Path, tmp_path: Path) -> None:
    assert command("cross-validation", "--run", str(run), "--out", str(tmp_path)).returncode == 0
    result = json.loads((tmp_path / "cross-validation.json").read_text())
    assert {"teacher", "committee", "bundle", "student_fp32", "narrow_fp32"} <= {row["setting"] for row in result["settings"]}
    report = json.loads((run / "report.json").read_text())["stages"]["gate"]
    bundle = next(row for row in result["settings"] if row["setting"] == "bundle")
    assert bundle["ndcg@10"]["mean"] == pytest.approx(report["ndcg@10"][report["ranking"]], abs=1e-4)
    assert "minilm_cosine" in bundle["difference"]


def test_combinations_of_a_bi_encoder_with_bm25_and_a_cross_encoder(run: Path, tmp_path: Path) -> None:
    assert command("combinations", "--run", str(run), "--out", str(tmp_path)).returncode == 0
    result = json.loads((tmp_path / "combinations.json").read_text())
    found = {row["setting"]: row for row in result["settings"]}
    gate = json.loads((run / "report.json").read_text())["stages"]["gate"]["ndcg@10"]
    for name in ("vectors", "student"):
        precision = json.loads((run / "6-gate" / "bundles" / name / "manifest.json").read_text())["metrics"]["precision"]
        assert found[name]["ndcg@10"]["mean"] == pytest.approx(gate[f"{name}_{precision}"], abs=1e-4)
    leant = "vectors with neighbours"
    assert {f"{leant} + 0.1 BM25", f"{leant}, its first 10 by student"} <= set(found)
    assert all(leant in row["difference"] for name, row in found.items() if name != leant)
    assert found[leant]["ndcg@10"] != found["vectors"]["ndcg@10"]
    assert (tmp_path / "combinations.png").stat().st_size > 10_000


def test_judges_that_need_judgments_and_those_that_need_none(run: Path, tmp_path: Path) -> None:
    assert command("judges", "--run", str(run), "--out", str(tmp_path)).returncode == 0
    result = json.loads((tmp_path / "judges.json").read_text())
    assert result["language_models"] == ["gemma-3-270m"]  # the recipe names none
    found = {row["setting"]: row["ndcg@10"]["mean"] for row in result["settings"]}
    gate = json.loads((run / "report.json").read_text())["stages"]["gate"]["ndcg@10"]
    assert found["embedder"] == pytest.approx(gate["minilm_cosine"], abs=0.005)
    assert found["embedder"] > found["language model alone"] > gate["bm25"]
    assert len(set(found.values())) > 4
    assert found["fine-tuned teacher alone"] == pytest.approx(gate["teacher"], abs=1e-4)
    assert found["recipe's embedder + 0.1 fine-tuned teacher"] == pytest.approx(gate["committee"], abs=1e-4)  # the recipe's share, 0.9 of the embedder's
    assert "recipe's embedder + 0.1 teacher by agreement" in found
    assert (tmp_path / "judges.png").stat().st_size > 10_000


def test_neighbours_of_the_runs_bi_encoder(run: Path, tmp_path: Path) -> None:
    assert command("neighbours", "--run", str(run), "--out", str(tmp_path)).returncode == 0
    found = {row["setting"]: row for row in json.loads((tmp_path / "neighbours.json").read_text())["settings"]}
    gate = json.loads((run / "report.json").read_text())["stages"]["gate"]["ndcg@10"]
    precision = json.loads((run / "6-gate" / "bundles" / "vectors" / "manifest.json").read_text())["metrics"]["precision"]
    assert found["without neighbours"]["ndcg@10"]["mean"] == pytest.approx(gate[f"vectors_{precision}"], abs=1e-4)
    assert {"without neighbours", "minilm_cosine"} <= set(found["with neighbours"]["difference"])
    assert len({row["ndcg@10"]["mean"] for row in found.values()}) > 3
    assert (tmp_path / "neighbours.png").stat().st_size > 10_000
    assert list((run / "vectors").glob("*/neighbours-*.npy"))


def test_some_settings_alone(run: Path, tmp_path: Path) -> None:
    words = ["losses", "--run", str(run), "--student", "narrow", "--pairs", "150", "--seeds", "1", "--first-seed", "5", "--out", str(tmp_path)]
    assert command(*words, "--setting", "bce").returncode == 0
    assert [row["setting"] for row in json.loads((tmp_path / "losses.json").read_text())["settings"]] == ["margin_mse", "bce"]  # what bce is compared with
    assert {json.loads(line)["seed"] for line in (tmp_path / "losses.trials.jsonl").read_text().splitlines()} == {5}


def test_what_cannot_be_done_is_told(run: Path, tmp_path: Path) -> None:
    for words, said in (
        (["losses", "--run", str(tmp_path)], "No distillation with judgments has been finished"),
        (["losses", "--run", str(run), "--student", "wide"], "has no student wide"),
        (["cross-validation", "--run", str(run), "--run", str(run)], "hold out the same fold"),
        (["weather", "--run", str(run)], "there is no experiment weather"),
        (["losses", "--run", str(run), "--setting", "hinge"], "has no setting 'hinge'"),
    ):
        done = command(*words, "--out", str(tmp_path / "out"))
        assert done.returncode != 0
        assert said in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr


def test_a_killed_experiments_half_line_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "losses.trials.jsonl"
    whole = {"run": "small-fold0", "setting": "bce", "seed": 1, "pairs": 9, "ndcg": {"laptop": 0.5}, "reads": json.dumps({"pairs": 9})}
    path.write_text(json.dumps(whole) + "\n" + json.dumps({**whole, "seed": 2})[:40])
    assert [trial.seed for trial in Trials(path, {"pairs": 9}, print).done] == [1]
    assert Trials(path, {"pairs": 10}, print).done == []
