"""Bundles: what is wrong with one is said clearly; what is right with one scores as the contract says."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from reranker import Reranker
from reranker.bundle import MANIFEST, MODEL, TOKENIZER, load_bundle, write_bundle
from reranker.errors import BundleError, InputError
from reranker.verification import verify
from tests.broken_bundles import BROKEN, change_manifest, encoder, make_broken_bundle, put
from tests.commands import run_command
from tests.tiny_bundle import make_tiny_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_tiny_bundle(tmp_path / "bundle")


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Reranker:
    return Reranker.load(make_tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle", words=["émile", "電池"]))


def flip_a_byte(folder: Path) -> None:
    data = bytearray((folder / MODEL).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / MODEL).write_bytes(bytes(data))


def cut_short(folder: Path) -> None:
    (folder / TOKENIZER).write_bytes((folder / TOKENIZER).read_bytes()[:-10])


def file_outside(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder.parent / "secret").write_text("secret")
        change_manifest(folder, lambda m: m["files"].__setitem__(name.format(parent=folder.parent), {"sha256": "0", "bytes": 6}))

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip_a_byte, r"model\.onnx is not the file the manifest describes"),
        (cut_short, r"tokenizer\.json is not the file the manifest describes"),
        (lambda f: (f / MODEL).unlink(), r"lacks model\.onnx"),
        (lambda f: (f / MANIFEST).unlink(), r"has no manifest\.json"),
        (lambda f: (f / MANIFEST).write_text("{"), "cannot be read"),
        (lambda f: (f / MANIFEST).write_bytes(b"\xff\xfe"), "cannot be read"),
        (lambda f: (f / MANIFEST).write_text("[]"), "has no format number"),
        (lambda f: change_manifest(f, lambda m: m.update(format=4)), "has format 4; this release reads up to 3"),
        (lambda f: change_manifest(f, lambda m: m.pop("template")), "wrong at 'template'"),
        (lambda f: change_manifest(f, lambda m: m.update(max_length=0)), "wrong at 'max_length'"),
        (lambda f: change_manifest(f, lambda m: m["template"].update(colour="red")), r"wrong at 'template\.colour'"),
        (lambda f: change_manifest(f, lambda m: m["files"].pop(TOKENIZER)), r"does not list tokenizer\.json"),
        (file_outside("../secret"), "outside the bundle"),
        (file_outside("{parent}/secret"), "outside the bundle"),
    ],
    ids=[
        "one byte changed",
        "cut short",
        "model missing",
        "manifest missing",
        "manifest not JSON",
        "manifest not text",
        "manifest a list",
        "future format",
        "no template",
        "no length",
        "unknown template field",
        "tokenizer not listed",
        "path escapes",
        "absolute path",
    ],
)
def test_a_damaged_bundle_is_refused_and_says_why(bundle: Path, damage: Callable[[Path], object], message: str) -> None:
    load_bundle(bundle)
    damage(bundle)
    with pytest.raises(BundleError, match=message) as caught:
        Reranker.load(bundle)
    assert caught.value.hint
    assert str(bundle) in caught.value.message


@pytest.fixture
def time_limit() -> Iterator[None]:
    """Ends a test that waits for a pipe."""

    def end(*_: object) -> None:
        raise AssertionError("it waits for ever")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("time_limit")
@pytest.mark.parametrize("name", BROKEN)
def test_verify_says_in_one_sentence_what_is_wrong(tmp_path: Path, name: str) -> None:
    folder = make_broken_bundle(tmp_path / "bundle", name)
    done = run_command("bundle", "verify", str(folder))
    assert done.returncode == 3
    assert done.stdout == ""
    message, hint = done.stderr.splitlines()
    assert re.search(BROKEN[name][1], message)
    assert str(folder) in message
    assert len(message) < 700
    assert hint


def test_verify_accepts_encoders_of_both_kinds_and_weights_that_are_listed(tmp_path: Path) -> None:
    for name, kind in (("vectors", "hidden"), ("pairs", "scores")):
        folder = make_tiny_bundle(tmp_path / name)
        encoder(kind=kind, architecture="bi_encoder" if kind == "hidden" else "cross_encoder")(folder)
        assert run_command("bundle", "verify", str(folder)).returncode == 0
    folder = make_broken_bundle(tmp_path / "external", "external weights not listed")
    put(folder, "model.onnx.data", (folder / "model.onnx.data").read_bytes())
    done = run_command("bundle", "verify", str(folder))
    assert done.returncode == 0, done.stderr


def test_verifying_leaves_caches_and_counts_alone() -> None:
    reranker = Reranker.load(cache=10)
    verify(reranker)
    assert set(reranker.caches().values()) == {(0, 0, 0, 0)}


def share(folder: Path, path: str) -> None:
    """Let the bundle's manifest name a file of another folder as its model."""
    (folder / MODEL).unlink()
    change_manifest(folder, lambda m: (m.update(format=3), m["files"][MODEL].update(path=path)))


def test_a_file_can_be_shared_with_a_bundle_beside_it(bundle: Path, tmp_path: Path) -> None:
    other = make_tiny_bundle(tmp_path / "other")
    share(bundle, "../other/model.onnx")
    assert Reranker.load(bundle).score("laptop", ["laptop"]) == Reranker.load(other).score("laptop", ["laptop"])
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "current").symlink_to(bundle)
    assert load_bundle(tmp_path / "links" / "current").version == load_bundle(other).version
    flip_a_byte(other)
    with pytest.raises(BundleError, match="is not the file the manifest describes"):
        load_bundle(bundle)


def test_a_bundle_copied_without_the_one_it_shares_with_says_what_to_copy(bundle: Path) -> None:
    share(bundle, "../other/model.onnx")
    with pytest.raises(BundleError, match=r"lacks model\.onnx, which it shares with the bundle other") as caught:
        load_bundle(bundle)
    assert "Copy the folder other as well" in str(caught.value)


@pytest.mark.parametrize("path", ["../../secret", "{parent}/secret", "../other/../../secret"])
def test_a_shared_file_outside_the_bundles_folder_is_refused(bundle: Path, path: str) -> None:
    (bundle.parent.parent / "secret").write_text("secret")
    share(bundle, path.format(parent=bundle.parent.parent))
    with pytest.raises(BundleError, match="outside the bundles' folder"):
        load_bundle(bundle)


def test_a_written_bundle_holds_its_shared_files(bundle: Path, tmp_path: Path) -> None:
    make_tiny_bundle(tmp_path / "other")
    share(bundle, "../other/model.onnx")
    shared = load_bundle(bundle)
    manifest = shared.manifest.model_dump(exclude={"format", "files"})
    written = write_bundle(tmp_path / "elsewhere" / "copy", {name: shared.file(name) for name in shared.manifest.files}, manifest)
    assert (written.path / MODEL).is_file()
    assert written.version == shared.version


def test_a_missing_bundle_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no bundle at .*nowhere"):
        Reranker.load(tmp_path / "nowhere")


def test_a_model_that_matches_its_checksum_but_is_none_is_refused(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a model")
    manifest = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    write_bundle(bundle, {MODEL: tmp_path / "text", TOKENIZER: bundle / TOKENIZER}, manifest | {"files": {}})
    with pytest.raises(BundleError, match="cannot be loaded"):
        Reranker.load(bundle)


def test_a_failed_write_leaves_the_old_bundle(bundle: Path, tmp_path: Path) -> None:
    version = load_bundle(bundle).version
    with pytest.raises(FileNotFoundError):
        write_bundle(bundle, {MODEL: tmp_path / "missing"}, {})
    assert load_bundle(bundle).version == version
    assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]


def test_scores_are_in_input_order_between_0_and_1(reranker: Reranker) -> None:
    scores = reranker.score("gaming laptop", ["desk", "a gaming laptop", {"id": 1, "title": "Laptop", "brand": "Dell"}])
    assert scores.dtype == np.float32
    assert scores == pytest.approx([0.018, 0.982, 0.5], abs=1e-3)


def test_batched_scores_are_those_of_one_by_one(reranker: Reranker) -> None:
    products = [f"{'laptop ' * (i % 3)}{'gaming ' * (i % 2)}{'filler ' * (i * 7 % 61)}" for i in range(200)]
    together = reranker.score("gaming laptop", products)
    assert len(set(together.round(3))) > 1
    assert together == pytest.approx([float(reranker.score("gaming laptop", [product])[0]) for product in products], abs=1e-6)


def test_no_products_give_no_scores(reranker: Reranker) -> None:
    assert reranker.score("laptop", []).shape == (0,)


@pytest.mark.parametrize(
    "product",
    [
        {},
        {"title": None, "brand": None, "description": None, "attributes": None},
        {"title": 5, "brand": ["a", None], "description": {"en": "x"}, "attributes": "none"},
        {"title": "🔋🚀\x00\x1b[31m\u202e"},
        {"title": "x", "description": "long " * 2_000},
        {"attributes": {"a": {"b": ["c", None, 1]}, "": ""}},
        "",
        "\ud800",
        "電池" * 20_000,
    ],
    ids=["empty", "nulls", "wrong types", "emoji and control characters", "10 kB description", "nested attributes", "empty text", "half a surrogate", "CJK"],
)
def test_any_product_gets_a_score(reranker: Reranker, product: dict | str) -> None:
    scores = reranker.score("laptop", [product, "laptop"])
    assert 0 <= scores[0] < 1
    assert scores[1] == pytest.approx(0.982, abs=1e-3)


def test_a_match_far_into_a_long_description_is_beyond_what_the_student_reads(reranker: Reranker) -> None:
    near = {"title": "x", "description": "laptop " + "filler " * 3_000}
    far = {"title": "x", "description": "filler " * 3_000 + "laptop"}
    assert reranker.score("laptop", [near, far]) == pytest.approx([0.982, 0.018], abs=1e-3)


@pytest.mark.parametrize("query", ["", "  ", "\x00\n"])
def test_an_empty_query_is_refused(reranker: Reranker, query: str) -> None:
    with pytest.raises(InputError, match="query is empty"):
        reranker.score(query, ["laptop"])


def test_rerank_gives_best_first_ties_in_input_order(reranker: Reranker) -> None:
    ranked = reranker.rerank("gaming laptop", ["desk", "laptop one", "gaming laptop", "laptop two"])
    assert [r.index for r in ranked] == [2, 1, 3, 0]
    assert ranked[0].product == "gaming laptop"
    assert [r.index for r in reranker.rerank("gaming laptop", ["desk", "laptop"], top_n=1)] == [1]
    assert len(reranker.rerank("laptop", ["laptop"], top_n=50)) == 1
    with pytest.raises(InputError, match="top_n is 0"):
        reranker.rerank("laptop", ["laptop"], top_n=0)


def test_unicode_queries_match_unicode_products(reranker: Reranker) -> None:
    assert reranker.score("Émile", ["émile", "emile"]) == pytest.approx([0.982, 0.018], abs=1e-3)


def test_an_emoji_does_not_change_what_a_query_means(bundle: Path) -> None:
    reranker = Reranker.load(bundle)
    products = ["desk", "a gaming laptop"]
    assert reranker.score("laptop 😀🔥", products) == pytest.approx(reranker.score("laptop", products))
    assert reranker.score("😀", products).shape == (2,)
