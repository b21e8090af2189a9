"""Bundles of a running service: rollout under load, refusal of broken ones, rollback, shadow."""

from __future__ import annotations

import gc
import itertools
import json
import math
import shutil
import signal
import subprocess
import sys
import threading
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from onnx import numpy_helper
from scipy.stats import kendalltau

from reranker import Reranker
from reranker.bundle import FORMAT, load_bundle, sha256
from reranker.cli.commands.serve import build_app, late_first_stage
from reranker.errors import RejectedBundleError
from reranker.onnx_model import OnnxModel
from reranker.rollout import Rollout
from reranker.rollout import shadow as shadow_module
from reranker.rollout.loading import load
from reranker.rollout.shadow import Sample, Shadow, kendall_tau, top_10_overlap
from reranker.service.api_keys import ApiKeys
from tests.broken_bundles import BROKEN, change_manifest, embedding_model, make_broken_bundle, put
from tests.served import served, until
from tests.tiny_bundle import make_tiny_bundle, make_tokenizer

LEVELS = {"one": 1.0, "two": 2.0, "three": 3.0, "reversed": -2.0}
KEY = "sesame-opens-the-door"
TWO = {"query": "laptop", "documents": ["a desk", "a laptop"]}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whole bundles by name, and broken ones."""
    folder = tmp_path_factory.mktemp("made")
    for name, level in LEVELS.items():
        make_tiny_bundle(folder / name, name=name, level=level)
    for name in ("cut", "no-model", "too-new", "no-onnx"):
        shutil.copytree(folder / "two", folder / name)
    (folder / "cut" / "model.onnx").write_bytes((folder / "two" / "model.onnx").read_bytes()[:-10])
    (folder / "no-model" / "model.onnx").unlink()
    _edit(folder / "too-new", lambda manifest: manifest | {"format": FORMAT + 1})
    (folder / "no-onnx" / "model.onnx").write_bytes(b"nonsense")
    digest = sha256(folder / "no-onnx" / "model.onnx")
    _edit(folder / "no-onnx", lambda manifest: manifest | {"files": manifest["files"] | {"model.onnx": {"sha256": digest, "bytes": 8}}})
    return folder


def _edit(bundle: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    manifest = bundle / "manifest.json"
    manifest.write_text(json.dumps(change(json.loads(manifest.read_text()))))


@pytest.fixture
def bundles(made: Path, tmp_path: Path) -> Path:
    """A copy of the bundles for one test; ``current`` is a link to the first."""
    folder = shutil.copytree(made, tmp_path / "bundles")
    (folder / "current").symlink_to(folder / "one")
    return folder


def point(link: Path, target: Path) -> None:
    """Replace the link atomically, as deployments do."""
    new = link.with_name("new-link")
    new.symlink_to(target)
    new.replace(link)


def model_of(bundle: Path) -> str:
    return f"{bundle.name}@{load_bundle(bundle).version}"


@pytest.fixture
def rollout(bundles: Path) -> Rollout:
    return Rollout(bundles / "current", threads=1, bundles=bundles)


@pytest.fixture
def client(rollout: Rollout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    catalog = tmp_path / "catalog.jsonl"
    catalog.write_text("".join(json.dumps({"id": str(i), "title": f"laptop {'bag ' * (i % 3)}{i}"}) + "\n" for i in range(12)))
    monkeypatch.setenv("RERANKER_HOME", str(tmp_path / "home"))
    app = build_app(late_first_stage(None, "products", catalog), rollout, k=50, budget_ms=None)
    with TestClient(app, client=("127.0.0.1", 50_000), base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as client:
        yield client


def serving(client: TestClient) -> str:
    """Return the name of the bundle that scores, by its scores, and check that the answer names it."""
    answer = client.post("/v2/rerank", json=TWO).json()
    name = answer["model"].split("@")[0]
    _check(answer["model"], [(r["index"], r["relevance_score"]) for r in answer["results"]], LEVELS)
    return name


def _check(model: str, results: list[tuple[int, float]], levels: dict[str, float]) -> None:
    """Check that these scores are those of the model that the answer names: product 1 holds the query, product 0 does not."""
    level = levels[model.split("@")[0]]
    assert dict(results) == pytest.approx({1: 1 / (1 + math.exp(-level)), 0: 1 / (1 + math.exp(level))}, abs=1e-4)


def test_a_bundle_is_rolled_out_rolled_back_and_shown(client: TestClient, bundles: Path) -> None:
    assert serving(client) == "one"
    answer = client.post("/bundles/reload", json={"path": "two"})
    assert answer.status_code == 200
    assert answer.json()["message"] == f"{model_of(bundles / 'two')} serves now; {model_of(bundles / 'one')} is kept for a rollback."
    assert serving(client) == "two"
    assert client.get("/search", params={"q": "laptop"}).json()["model"] == model_of(bundles / "two")
    assert client.post("/rerank", json={"query": "laptop", "texts": ["laptop"]}).headers["x-reranker-model"] == model_of(bundles / "two")
    shown = client.get("/bundles").json()
    assert (shown["serving"]["model"], shown["previous"]["model"], shown["shadow"]) == (model_of(bundles / "two"), model_of(bundles / "one"), None)
    assert shown["serving"]["sha256"] == load_bundle(bundles / "two").manifest.files["model.onnx"].sha256
    assert client.get("/ready").json()["student"] == model_of(bundles / "two")
    assert client.post("/bundles/rollback").json()["serving"]["name"] == "one"
    assert serving(client) == "one"
    metrics = client.get("/metrics").text
    assert f'reranker_bundle{{model="{model_of(bundles / "one")}",role="serving"}} 1.0' in metrics
    assert 'reranker_bundle_changes_total{action="rollback",outcome="done"} 1.0' in metrics


@pytest.mark.parametrize(("path", "body"), [("/v2/rerank", TWO), ("/rerank", {"query": "laptop", "texts": TWO["documents"]}), ("/search?q=laptop", None)])
def test_a_request_in_flight_finishes_on_the_bundle_it_began_with(
    client: TestClient, rollout: Rollout, bundles: Path, monkeypatch: pytest.MonkeyPatch, path: str, body: object
) -> None:
    old = rollout._serving.reranker
    begun, gate, score = threading.Event(), threading.Event(), old.score

    def wait(query: str, products: list[Any]) -> np.ndarray:
        begun.set()
        assert gate.wait(60)
        return score(query, products)

    monkeypatch.setattr(old, "score", wait)
    with ThreadPoolExecutor(1) as pool:
        in_flight = pool.submit(client.request, "GET" if body is None else "POST", path, json=body)
        assert begun.wait(60)
        assert client.post("/bundles/reload", json={"path": "two"}).status_code == 200
        assert serving(client) == "two"
        gate.set()
        answer = in_flight.result()
    named = answer.headers["x-reranker-model"] if path == "/rerank" else answer.json()["model"]
    assert named == model_of(bundles / "one")
    results = answer.json() if path == "/rerank" else answer.json()["results"]
    best = max(result.get("score", result.get("relevance_score", result.get("student_score"))) for result in results)
    assert best == pytest.approx(1 / (1 + math.exp(-LEVELS["one"])), abs=1e-4)


def test_without_a_path_the_bundle_option_is_read_again(client: TestClient, bundles: Path) -> None:
    assert "nothing was changed" in client.post("/bundles/reload").json()["message"]
    assert client.get("/bundles").json()["previous"] is None
    point(bundles / "current", bundles / "three")
    assert client.post("/bundles/reload").json()["serving"]["name"] == "three"
    make_tiny_bundle(bundles / "three", name="three", level=2.5)  # the folder itself replaced
    answer = client.post("/bundles/reload").json()
    assert (answer["serving"]["name"], answer["previous"]["name"]) == ("three", "three")
    assert answer["serving"]["sha256"] != answer["previous"]["sha256"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cut", "is not the file the manifest describes"),
        ("no-model", "lacks model.onnx"),
        ("too-new", f"has format {FORMAT + 1}"),
        ("no-onnx", "cannot be loaded"),
        ("nowhere", "There is no bundle at"),
    ],
)
def test_an_unusable_bundle_is_refused_and_changes_nothing(client: TestClient, bundles: Path, name: str, message: str) -> None:
    for endpoint in ("reload", "shadow"):
        answer = client.post(f"/bundles/{endpoint}", json={"path": name})
        assert answer.status_code == 422
        assert message in answer.json()["error"]["message"]
        assert f"{model_of(bundles / 'one')} goes on serving." in answer.json()["error"]["message"]
    shown = client.get("/bundles").json()
    assert message in shown["last_error"]["message"]
    assert (shown["serving"]["name"], shown["previous"], shown["shadow"]) == ("one", None, None)
    assert serving(client) == "one"
    assert 'reranker_bundle_changes_total{action="reload",outcome="refused"} 1.0' in client.get("/metrics").text
    client.post("/bundles/reload", json={"path": "two"})
    assert client.get("/bundles").json()["last_error"] is None


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_bundle_is_refused_and_the_old_one_goes_on_serving(rollout: Rollout, bundles: Path, name: str) -> None:
    make_broken_bundle(bundles / "broken", name)
    before = rollout.score("laptop", ["a laptop"])
    for change in (rollout.reload, rollout.start_shadow):
        with pytest.raises(RejectedBundleError, match=BROKEN[name][1]) as caught:
            change("broken")
        assert caught.value.message.endswith(f"{rollout.model} goes on serving.")
    assert rollout.model == model_of(bundles / "one")
    assert rollout.status()["shadow"] is None
    assert rollout.score("laptop", ["a laptop"]) == before


def test_a_bundle_that_fails_on_recent_requests_is_not_rolled_out(rollout: Rollout, bundles: Path) -> None:
    """Only one word of its vocabulary has no usable weights, so that verifying it finds nothing."""
    tokenizer, model = make_tokenizer(), embedding_model("scores")
    weights = numpy_helper.to_array(next(one for one in model.graph.initializer if one.name == "tokens")).copy()
    weights[tokenizer.token_to_id("backpack")] = np.nan
    next(one for one in model.graph.initializer if one.name == "tokens").CopyFrom(numpy_helper.from_array(weights, "tokens"))
    put(bundles / "two", "model.onnx", model.SerializeToString())
    rollout.score("laptop", ["a backpack"])
    with pytest.raises(RejectedBundleError, match="gives unusable scores"):
        rollout.reload("two")
    assert rollout.model == model_of(bundles / "one")


def test_vectors_computed_meanwhile_are_known_after_a_reload(tmp_path: Path) -> None:
    rollout = Rollout(threads=1, vectors=tmp_path / "vectors")
    assert rollout.pin().vectors_stored == 0
    Reranker.load(threads=1).store_vectors(tmp_path / "vectors", ["a laptop", "a desk"])
    assert "2 stored product vectors are loaded" in rollout.reload()
    assert rollout.pin().vectors_stored == 2


@pytest.mark.parametrize("path", ["..", ".", "", "../bundles", "/", "/etc", "one/../..", "outside", "a\0b", "x" * 999, "loop"])
def test_clients_name_bundles_of_one_folder_only(client: TestClient, bundles: Path, made: Path, path: str) -> None:
    (bundles / "outside").symlink_to(made / "two")
    (bundles / "loop").symlink_to(bundles / "loop")
    answer = client.post("/bundles/reload", json={"path": path})
    assert answer.status_code == 422
    assert answer.json()["error"]["message"] == "The path is not of a bundle among the service's --bundles."
    assert client.post("/bundles/reload", json={"pth": "two"}).status_code == 422
    assert serving(client) == "one"


def test_the_description_has_the_endpoints_of_bundles(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/bundles", "/bundles/reload", "/bundles/rollback", "/bundles/shadow", "/bundles/promote"} <= paths.keys()
    assert {"401", "403", "409", "422"} <= paths["/bundles/reload"]["post"]["responses"].keys()
    assert "delete" in paths["/bundles/shadow"]


def test_rollback_and_promote_without_a_bundle_get_409(client: TestClient) -> None:
    for method, path in (("POST", "rollback"), ("POST", "promote"), ("DELETE", "shadow")):
        answer = client.request(method, f"/bundles/{path}")
        assert answer.status_code == 409
        assert answer.json()["error"].keys() == {"message", "hint"}


def test_other_machines_need_a_key_to_see_or_change_bundles(rollout: Rollout, client: TestClient) -> None:
    first_stage = late_first_stage(None, "products", None)
    far = TestClient(build_app(first_stage, rollout, k=50, budget_ms=None), client=("192.0.2.7", 50_000))
    assert far.get("/bundles").status_code == 403
    assert far.post("/bundles/reload", json={"path": "two"}).status_code == 403
    assert far.post("/v2/rerank", json=TWO).status_code == 200
    assert client.get("/bundles").status_code == 200
    proxies = ({"X-Forwarded-For": "127.0.0.1"}, {"X-Real-IP": "127.0.0.1"}, {"Via": "1.1 proxy"}, {"Host": "shop.example.com"})
    for header in ({"Origin": "https://elsewhere.example"}, *proxies):  # a web page in a browser here, and what proxies send
        assert client.post("/bundles/reload", json={"path": "two"}, headers=header).status_code == 403
    assert client.get("/bundles", headers={"Host": "localhost:8000"}).status_code == 200
    keyed = TestClient(build_app(first_stage, rollout, k=50, budget_ms=None, keys=ApiKeys([KEY])), client=("192.0.2.7", 50_000))
    assert keyed.get("/bundles").status_code == 401
    assert keyed.get("/bundles", headers={"X-API-Key": KEY}).status_code == 200


def test_a_shadow_is_measured_and_promoted(client: TestClient, bundles: Path) -> None:
    assert client.post("/bundles/shadow", json={"path": "reversed"}).status_code == 200
    for _ in range(3):
        answer = client.post("/v2/rerank", json=TWO).json()
        assert answer["model"] == model_of(bundles / "one")
        assert [result["index"] for result in answer["results"]] == [1, 0]  # the shadow would turn it round
    assert client.get("/search", params={"q": "laptop bag"}).json()["scored"] == 12
    until(lambda: client.get("/bundles").json()["shadow"]["samples"] == 4)
    shadow = client.get("/bundles").json()["shadow"]
    assert (shadow["model"], shadow["failures"], shadow["dropped"]) == (model_of(bundles / "reversed"), 0, 0)
    assert shadow["agreement"]["kendall_tau"] == -1
    assert 0 < shadow["agreement"]["top_10_overlap"] < 1
    metrics = client.get("/metrics").text
    label = f'model="{model_of(bundles / "reversed")}"'
    for line in (f"reranker_shadow_seconds_count{{{label}}} 4.0", f'reranker_shadow_agreement{{measure="kendall_tau",{label}}} -1.0'):
        assert line in metrics.splitlines()
    client.post("/bundles/reload", json={"path": "three"})  # from now on it is compared with another
    assert client.get("/bundles").json()["shadow"]["agreement"]["kendall_tau"] is None
    shown = client.post("/bundles/promote").json()
    assert (shown["serving"]["name"], shown["previous"]["name"], shown["shadow"]) == ("reversed", "three", None)
    assert serving(client) == "reversed"


def test_a_failing_shadow_is_counted_and_never_seen(client: TestClient, rollout: Rollout, bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client.post("/bundles/shadow", json={"path": "two"})
    shadow = rollout._shadow
    assert shadow is not None

    def fail(query: str, texts: list[str]) -> np.ndarray:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(shadow.loaded.reranker, "score_texts", fail)
    assert serving(client) == "one"
    until(lambda: client.get("/bundles").json()["shadow"]["failures"] == 1)
    assert f'reranker_shadow_failures_total{{model="{model_of(bundles / "two")}"}} 1.0' in client.get("/metrics").text
    assert client.delete("/bundles/shadow").json()["shadow"] is None


def test_a_slow_shadow_drops_samples_and_delays_no_answer(client: TestClient, rollout: Rollout, monkeypatch: pytest.MonkeyPatch) -> None:
    client.post("/bundles/shadow", json={"path": "two"})
    shadow = rollout._shadow
    assert shadow is not None
    gate, score = threading.Event(), shadow.loaded.reranker.score_texts

    def wait(query: str, texts: list[str]) -> np.ndarray:
        assert gate.wait(60)
        return score(query, texts)

    monkeypatch.setattr(shadow.loaded.reranker, "score_texts", wait)
    for _ in range(70):
        assert client.post("/v2/rerank", json=TWO).status_code == 200
    dropped = client.get("/bundles").json()["shadow"]["dropped"]
    assert dropped in (5, 6)  # 64 wait, one is in work
    gate.set()
    until(lambda: client.get("/bundles").json()["shadow"]["samples"] == 70 - dropped)
    assert f'reranker_shadow_dropped_total{{model="{shadow.loaded.reranker.model}"}} {dropped}.0' in client.get("/metrics").text


def test_the_agreement_is_kendalls_tau() -> None:
    random = np.random.default_rng(7)
    for n in (2, 5, 50):
        a, b = random.integers(0, 9, n).astype(np.float32), random.integers(0, 9, n).astype(np.float32)
        assert kendall_tau(a, b) == pytest.approx(kendalltau(a, b).statistic)
    assert kendall_tau(np.ones(3), np.arange(3)) is None
    assert kendall_tau(np.ones(1), np.ones(1)) is None
    scores = np.arange(20.0)
    assert (top_10_overlap(scores, scores), top_10_overlap(scores, -scores), top_10_overlap(scores[:10], -scores[:10])) == (1, 0, None)


# --- memory -------------------------------------------------------------------------------------------------------------


class Large(dict):
    """A product of 2 MB, with nested JSON, that a weak reference can point to."""

    def __init__(self, number: int) -> None:
        super().__init__(id=str(number), title=f"laptop {number}", description="x" * 1_000_000, attributes={"a": [{"b": "y" * 1_000_000}]})


@pytest.fixture
def without_collector() -> Iterator[None]:
    """Only the count of references frees memory."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("without_collector")
def test_no_product_outlives_its_request(rollout: Rollout, bundles: Path) -> None:
    change_manifest(bundles / "reversed", lambda m: m["template"].update(fields=["title"], max_characters=16))
    for shadow in (None, "two", "reversed"):  # none, one of the same template, one of another
        if shadow:
            rollout.start_shadow(shadow)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        alive = []
        for request in range(3):
            products = [Large(request * 10 + n) for n in range(10)]
            alive += [weakref.ref(product) for product in products]
            rollout.score("laptop", products)
            del products
        assert [one() for one in alive] == [None] * 30
        assert tracemalloc.get_traced_memory()[0] - before < 200_000
        tracemalloc.stop()
    rollout.close()


def test_recent_requests_are_remembered_within_limits(rollout: Rollout, bundles: Path) -> None:
    for products in (["laptop"] * 101, [f"{'x' * 590} {n}" for n in range(100)], ["電池" * 300] * 100, ["laptop", {"title": "laptop"}]):
        rollout.score("laptop", products)
    assert [(query, len(texts)) for query, texts in rollout._recent] == [("laptop", 100), ("laptop", 100), ("laptop", 2)]
    for folder in ("one", "two"):
        change_manifest(bundles / folder, lambda m: m["template"].update(max_characters=20_000))
    rollout.reload("two")
    rollout.score("laptop", ["x" * 7_000] * 100)
    assert len(rollout._recent) == 3
    change_manifest(bundles / "one", lambda m: m["template"].update(max_characters=20_001))
    with pytest.raises(RejectedBundleError, match=r"wrong at 'template\.max_characters'"):
        rollout.reload("one")


def test_what_waits_for_the_shadow_is_limited_in_bytes(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow_module, "QUEUED_BYTES", 20_000)
    shadow = Shadow(load(bundles / "two", threads=1), against="other")
    gate, begun, score = threading.Event(), threading.Event(), shadow.loaded.reranker.score_texts

    def wait(query: str, texts: list[str]) -> np.ndarray:
        begun.set()
        assert gate.wait(60)
        return score(query, texts)

    monkeypatch.setattr(shadow.loaded.reranker, "score_texts", wait)
    shadow.offer(Sample("laptop", ["laptop"], np.zeros(1), "other"))
    assert begun.wait(60)
    for n in range(10):
        shadow.offer(Sample("laptop", [f"{n} " + "x" * 4_900, "a"], np.zeros(2), "other"))
    assert shadow.stats()["dropped"] == 7  # three of 5,000 bytes wait
    gate.set()
    until(lambda: shadow.stats()["samples"] == 4)
    shadow.offer(Sample("laptop", ["x" * 15_000, "a"], np.zeros(2), "other"))
    until(lambda: shadow.stats()["samples"] == 5)
    shadow.stop()


def test_a_shadow_with_another_template_scores_its_own_texts(rollout: Rollout, bundles: Path) -> None:
    change_manifest(bundles / "two", lambda m: m["template"].update(fields=["description"]))
    rollout.start_shadow("two")
    rollout.score("laptop", [{"title": "laptop", "description": "desk"}, {"title": "desk", "description": "laptop"}, {"title": "desk"}])
    assert rollout._shadow is not None
    until(lambda: rollout._shadow.stats()["samples"] == 1)
    assert rollout._shadow.stats()["agreement"]["kendall_tau"] == pytest.approx(0.5)  # 1 if it read the texts of the other
    rollout.close()


@pytest.mark.usefixtures("without_collector")
def test_thirty_changes_leave_only_the_models_of_the_bundles_shown(rollout: Rollout, bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_broken_bundle(bundles / "nan", "NaN weights")
    alive: weakref.WeakSet[OnnxModel] = weakref.WeakSet([rollout.pin().models["model.onnx"]])
    create = OnnxModel.__init__

    def watched(self: OnnxModel, *arguments: Any) -> None:
        create(self, *arguments)
        alive.add(self)

    monkeypatch.setattr(OnnxModel, "__init__", watched)
    for name in ["two", "three", "one"] * 10:
        rollout.reload(name)
        rollout.score("laptop", ["a laptop", "a desk"])
    assert len(alive) == 2
    for n in range(30):
        change_manifest(bundles / "one", lambda m, n=n: m.update(created=str(n)))
        rollout.reload()
    assert len(alive) == 2
    for _ in range(30):
        rollout.reload()  # the same
        with pytest.raises(RejectedBundleError):
            rollout.reload("nan")
    assert len(alive) == 2
    for name in ["two", "three", "reversed"] * 10:
        rollout.start_shadow(name)
        rollout.score("laptop", ["a laptop", "a desk"])
    until(lambda: len(alive) == 3)
    rollout.promote()
    until(lambda: len(alive) == 2)
    pinned = rollout.pin()  # as a request does
    for name in ("two", "three", "one"):
        rollout.reload(name)
    assert len(alive) == 3
    assert pinned.score("laptop", ["a laptop"]).shape == (1,)
    del pinned
    assert len(alive) == 2


def test_each_role_has_its_share_of_the_caches_bytes(bundles: Path) -> None:
    rollout = Rollout(bundles / "one", threads=1, cache=1_000, cache_bytes=40_000, bundles=bundles)

    def fill(reranker: Reranker) -> int:
        for n in range(100):
            reranker.score(f"laptop {n}", ["a laptop"])
        return reranker.caches()["pair_scores"].bytes

    first = rollout.pin()
    assert 19_000 < fill(first) <= 20_000
    rollout.start_shadow("three")
    assert rollout._shadow is not None
    shadow = rollout._shadow.loaded.reranker
    assert 9_000 < fill(shadow) <= 10_000
    rollout.promote()
    assert 19_000 < fill(shadow) <= 20_000
    assert 9_000 < fill(first) <= 10_000
    rollout.rollback()
    assert 19_000 < fill(first) <= 20_000


THIRTY_ROLLOUTS = """
import sys
from pathlib import Path
from reranker.rollout import Rollout

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])

rollout = Rollout(Path(sys.argv[1], "one"), threads=1, bundles=Path(sys.argv[1]))
sizes = []
for n in range(30):
    rollout.reload(("two", "one")[n % 2])
    rollout.score("laptop", [f"laptop {n}" for n in range(50)])
    sizes.append(resident())
print(sizes[0], sizes[-1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_memory_after_thirty_rollouts_is_what_it_was_after_the_first(tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(load_bundle().path, tmp_path / name)
        change_manifest(tmp_path / name, lambda m, name=name: m.update(name=name))
    done = subprocess.run([sys.executable, "-c", THIRTY_ROLLOUTS, str(tmp_path)], capture_output=True, text=True, timeout=500, check=True)
    first, last = map(int, done.stdout.split())
    assert last <= 1.25 * first


# --- a real service -----------------------------------------------------------------------------------------------------


class Load:
    """Clients that send requests without pause; each answer must be right for the bundle that it names."""

    def __init__(self, service: Any, key: str, clients: int = 4) -> None:
        self.service, self.key = service, key
        self.wrong: list[object] = []
        self.models: set[str] = set()
        self.answered = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(i,)) for i in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, first: int) -> None:
        ways = [self._cohere, self._texts, self._search]
        for i in itertools.count(first):
            if self._stop.is_set():
                return
            try:
                model = ways[i % 3]()
                self.models.add(model.split("@")[0])
                self.answered += 1
            except (AssertionError, OSError, KeyError, ValueError) as error:
                self.wrong.append(error)

    def _get(self, path: str, body: object = None) -> tuple[Any, dict[str, str]]:
        status, answer, headers = self.service.ask(path, body, key=self.key)
        assert status == 200, answer
        return answer, headers

    def _cohere(self) -> str:
        answer, _ = self._get("/v2/rerank", TWO)
        _check(answer["model"], [(r["index"], r["relevance_score"]) for r in answer["results"]], LEVELS)
        return answer["model"]

    def _texts(self) -> str:
        answer, headers = self._get("/rerank", {"query": "laptop", "texts": TWO["documents"]})
        _check(headers["x-reranker-model"], [(r["index"], r["score"]) for r in answer], LEVELS)
        return headers["x-reranker-model"]

    def _search(self) -> str:
        answer, _ = self._get("/search?q=laptop+desk&size=2")
        assert answer["reranked"], answer["fallback_reason"]
        level = LEVELS[answer["model"].split("@")[0]]
        assert {r["id"]: r["student_score"] for r in answer["results"]} == pytest.approx({"both": 1 / (1 + math.exp(-level)), "half": 0.5}, abs=1e-4)
        return answer["model"]


def test_twenty_changes_under_load_drop_no_request_and_never_mix_bundles(bundles: Path, tmp_path: Path) -> None:
    key_file, catalog = tmp_path / "keys", tmp_path / "catalog.jsonl"
    key_file.write_text(f"{KEY}\nanother-key-for-later\n")
    catalog.write_text('{"id": "both", "title": "laptop desk"}\n{"id": "half", "title": "laptop"}\n')
    options = ("--bundle", str(bundles / "current"), "--bundles", str(bundles), "--api-key-file", str(key_file), "--catalog", str(catalog))
    with served(tmp_path, *options, "--shadow", str(bundles / "reversed")) as service:

        def bundle() -> str:
            return service.ask("/bundles", key=KEY)[1]["serving"]["name"]

        with Load(service, KEY) as load:
            for name in ["two", "three", "one"] * 4:  # 12 changes
                status, answer, _ = service.ask("/bundles/reload", {"path": name}, key=KEY)
                assert (status, answer["serving"]["name"]) == (200, name)
                reached = load.answered + 4
                until(lambda reached=reached: load.answered >= reached or load.wrong)  # type: ignore[misc]
            for name in ("cut", "no-onnx"):
                status, answer, _ = service.ask("/bundles/reload", {"path": name}, key=KEY)
                assert (status, "one" in answer["error"]["message"]) == (422, True)
            for expected in ("three", "one"):  # 14
                assert service.ask("/bundles/rollback", {}, key=KEY)[1]["serving"]["name"] == expected
            for name in ("two", "three", "one", "two"):  # 18
                point(bundles / "current", bundles / name)
                service.process.send_signal(signal.SIGHUP)
                until(lambda name=name: bundle() == name)  # type: ignore[misc]
            assert service.ask("/bundles/promote", {}, key=KEY)[1]["serving"]["name"] == "reversed"  # 19
            assert service.ask("/bundles/rollback", {}, key=KEY)[1]["serving"]["name"] == "two"  # 20
        assert load.wrong == []
        assert load.models >= {"one", "two", "three"}
        assert service.ask("/v2/rerank", TWO)[0] == 401
        assert service.ask("/v2/rerank", TWO, key="another-key-for-later")[0] == 200
        told = service.ask("/metrics")[1] + service.stderr.read_text() + json.dumps(service.ask("/bundles", key=KEY)[1])
        told += Path(f"/proc/{service.process.pid}/cmdline").read_text()
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(60) == 0
        assert service.process.stdout is not None
        told += service.process.stdout.read()
    assert "reranker_bundle_changes_total" in told
    assert KEY not in told
    assert "another-key-for-later" not in told


def test_a_broken_shadow_keeps_no_service_from_starting_and_sighup_refuses_a_broken_bundle(bundles: Path, tmp_path: Path) -> None:
    options = ("--bundle", str(bundles / "current"), "--shadow", str(bundles / "cut"), "--opensearch", "http://127.0.0.1:9")
    with served(tmp_path, *options, environment={"RERANKER_API_KEY": KEY}) as service:

        def shown() -> dict[str, Any]:
            return service.ask("/bundles", key=KEY)[1]

        assert shown()["shadow"] is None
        assert "is not the file" in shown()["last_error"]["message"]
        point(bundles / "current", bundles / "two")
        service.process.send_signal(signal.SIGHUP)
        until(lambda: shown()["serving"]["name"] == "two")
        assert shown()["last_change"]["trigger"] == "SIGHUP"
        point(bundles / "current", bundles / "no-model")
        service.process.send_signal(signal.SIGHUP)
        until(lambda: (shown()["last_error"] or {}).get("trigger") == "SIGHUP")
        assert shown()["serving"]["name"] == "two"
        assert "lacks model.onnx" in service.stderr.read_text()


def test_keys_are_rotated_by_sighup_and_unusable_ones_change_nothing(bundles: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(KEY)
    with served(tmp_path, "--bundle", str(bundles / "one"), "--opensearch", "http://127.0.0.1:9", "--api-key-file", str(keys)) as service:
        keys.write_text("the-key-that-comes-next\n")
        service.process.send_signal(signal.SIGHUP)
        until(lambda: service.ask("/v2/rerank", TWO, key="the-key-that-comes-next")[0] == 200)
        assert service.ask("/v2/rerank", TWO, key=KEY)[0] == 401
        large = {"query": "laptop", "documents": ["x" * 19_000] * 1_000}
        assert service.ask("/v2/rerank", large, key=KEY)[0] == 401  # and no broken pipe
        keys.write_text("")
        service.process.send_signal(signal.SIGHUP)
        until(lambda: "the API keys are unchanged" in service.stderr.read_text())
        assert service.ask("/v2/rerank", TWO, key="the-key-that-comes-next")[0] == 200


def test_the_commands_change_a_running_service(bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.unit.test_service import command

    options = ("--bundle", str(bundles / "current"), "--bundles", str(bundles), "--opensearch", "http://127.0.0.1:9")
    with served(tmp_path, *options, environment={"RERANKER_API_KEY": KEY}) as service:
        monkeypatch.setenv("RERANKER_API_KEY", KEY)

        def run(*arguments: str) -> tuple[int, str, str]:
            code, out, err = command(monkeypatch, capsys, "bundle", *arguments, "--service", service.url)
            assert KEY not in out + err
            return code, out, err

        code, out, _ = run("rollout", "two")
        assert code == 0
        assert out.startswith(f"{model_of(bundles / 'two')} serves now; {model_of(bundles / 'one')} is kept for a rollback.\nserving ")
        assert "goes on serving" in run("rollout", "cut")[2]
        assert run("rollout", "cut")[0] == 4
        assert "is in the shadow of" in run("shadow", "three")[1]
        service.ask("/v2/rerank", TWO, key=KEY)
        until(lambda: "Kendall's tau 1.000" in run("status")[1])
        code, out, _ = run("promote", "--json")
        assert json.loads(out)["serving"]["name"] == "three"
        assert run("rollback")[1].startswith(f"{model_of(bundles / 'two')} serves now")
        assert "nothing was changed" not in run("rollout")[1]
        assert "There is no bundle in the shadow." in run("shadow", "--stop")[2]
        assert run("shadow")[0] == 2
        monkeypatch.setenv("RERANKER_API_KEY", "a-key-that-is-not-known")
        code, out, err = run("status")
        assert (code, out) == (4, "")
        assert "does not accept this key" in err
        monkeypatch.delenv("RERANKER_API_KEY")
        assert "needs a key" in run("status")[2]
    code, _, err = run("status")
    assert code == 4
    assert f"No service answers at {service.url}" in err
    assert command(monkeypatch, capsys, "bundle", "status", "--service", "localhost:8000")[0] == 2


def test_serve_warns_without_a_key_and_refuses_an_unusable_one(bundles: Path, tmp_path: Path) -> None:
    options = ("--bundle", str(bundles / "one"), "--opensearch", "http://127.0.0.1:9", "--host", "0.0.0.0")
    with served(tmp_path, *options) as service:
        assert "without an API key" in service.stderr.read_text()
    with served(tmp_path, *options, environment={"RERANKER_API_KEY": KEY}) as service:
        assert "without an API key" not in service.stderr.read_text()
    short = tmp_path / "short"
    short.write_text("secret\n")
    with pytest.raises(AssertionError, match=r"line 1 of .*short has 6 characters") as caught, served(tmp_path, *options, "--api-key-file", str(short)):
        pass
    assert "secret" not in str(caught.value)
