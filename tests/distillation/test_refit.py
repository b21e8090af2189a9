"""Training again on all judgments what a run with a held-out fold has measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from reranker import Reranker
from reranker.demo_data import demo_file
from reranker.judgments import load_judgments
from reranker_distill.finished_run import open_runs, pooled

pytestmark = pytest.mark.slow


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "reranker", "distill", *words], capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})


@pytest.fixture(scope="module")
def again(run: Path, small_recipe: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("refit") / "all"
    done = command(small_recipe, "--refit", str(run), "--run", str(folder))
    assert done.returncode == 0, done.stderr
    assert f"2-vectors: taken from {run}" in done.stderr  # they do not depend on judgments
    return folder


def test_all_judged_queries_were_learnt_from(again: Path) -> None:
    seen = Reranker.load(again / "bundle").bundle.manifest.seen
    assert set(seen.queries) == {judgment.query for judgment in load_judgments(demo_file("judgments.csv"))}


def test_its_quality_is_what_the_run_measured(run: Path, again: Path) -> None:
    own, first = (json.loads((folder / "report.json").read_text())["stages"]["gate"] for folder in (again, run))
    assert own["cross_validated"] == ["small-fold0"]
    assert own["chosen"] == first["chosen"]
    assert own["ndcg@10"] == {name: first["ndcg@10"][name] for name in own["ndcg@10"]}
    served = own["ranking"]  # exported anew: int8 may be good enough in one and not in the other
    measured = pooled(open_runs([run]))
    difference = measured.difference(served, "bm25")
    assert own["difference"]["student-bm25"] == {
        "mean": round(difference.mean, 6),
        "interval": [round(difference.low, 4), round(difference.high, 4)],
        **measured.record(served, "bm25")._asdict(),
    }
    assert own["latency_ms"]["p50"] > 0
    card = (again / "bundle" / "MODEL_CARD.md").read_text()
    assert "nothing is left to measure it on" in card
    assert "small-fold0" in card


def test_the_refitted_student_is_another(run: Path, again: Path) -> None:
    products = [{"id": "1", "title": "Laptop lock"}, {"id": "2", "title": "HP ProBook 450 notebook"}]
    assert not np.array_equal(Reranker.load(run / "bundle").score("laptop", products), Reranker.load(again / "bundle").score("laptop", products))


def test_what_cannot_be_refitted_is_told(run: Path, small_recipe: str, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text('name = "small"\n[student]\nlayers = 3\n')
    for words, said in (
        (["demo", "--refit", str(run)], "of another recipe than demo: name differs"),
        ([str(other), "--refit", str(run)], "of another recipe than small"),
        (["no-judgments", "--refit", str(run)], "learns nothing from judgments"),
        ([small_recipe, "--refit", str(run), "--refit", str(run)], "hold out the same fold"),
        ([small_recipe, "--refit", str(tmp_path)], "No distillation with judgments by this release has been finished"),
        ([small_recipe, "--refit", str(run), "--fold", "1"], "the runs decide this"),
        ([small_recipe, "--refit", str(run), "--reuse", str(run)], "a refit reuses the runs it is given"),
        ([small_recipe, "--reuse", str(tmp_path)], "There is nothing to reuse in"),
    ):
        done = command(*words, "--run", str(tmp_path / "out"))
        assert done.returncode != 0
        assert said in " ".join(done.stderr.replace("│", " ").split())
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
