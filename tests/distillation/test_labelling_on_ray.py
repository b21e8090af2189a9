"""Labelling on a Ray cluster: a local one of two cores, with a labeller that needs no model."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reranker.errors import MissingExtraError, RerankerError
from reranker_distill.labelling import label_pairs
from reranker_distill.labelling.on_ray import connected
from reranker_distill.labelling.shipped_teacher import ship
from reranker_distill.pairs import read_labelled
from tests.rule_labeller import PAIRS, PRODUCTS, RuleLabeller


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with connected("local", cpus=2):
        yield


def label(folder: Path, labeller: Any, **others: Any) -> list[Path]:
    folder.mkdir(exist_ok=True)
    return label_pairs(PAIRS, PRODUCTS, labeller, folder=folder, shard_size=10, **others)


@pytest.mark.parametrize(("address", "message"), [("ray://localhost:10001", "Ray Client"), ("localhost:1", "localhost:1"), ("localhost", "localhost")])
def test_a_cluster_that_cannot_be_used_is_reported_at_once(address: str, message: str) -> None:
    with pytest.raises(RerankerError, match=message) as error, connected(address):
        pass
    assert "local" in (error.value.hint or "") or "HOST:6379" in (error.value.hint or "")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"distilled-reranker\[ray\]"), connected("local"):
        pass


@pytest.mark.usefixtures("cluster")
def test_a_cluster_gives_the_same_labels_and_goes_on_at_the_grain_of_shards(tmp_path: Path) -> None:
    here = label(tmp_path / "here", RuleLabeller(tmp_path / "notes here"))
    progress: list[int] = []
    there = label(tmp_path / "there", RuleLabeller(tmp_path / "notes"), ray="local", on_pairs=progress.append)
    assert read_labelled(there) == read_labelled(here)
    assert sorted(progress) == [5, 10, 10]

    there[0].unlink()
    there[2].write_bytes(there[2].read_bytes()[:-30])
    again = RuleLabeller(tmp_path / "notes again")
    assert label(tmp_path / "there", again, ray="local") == there
    assert sorted(len(ids) for ids in again.noted()) == [5, 10]
    assert read_labelled(there) == read_labelled(here)


@pytest.mark.usefixtures("cluster")
def test_a_worker_that_fails_is_reported_and_the_shards_before_it_are_kept(tmp_path: Path) -> None:
    failing = RuleLabeller(tmp_path / "notes", fails_on="22", error=RuntimeError("CUDA out of memory"))
    with pytest.raises(RerankerError, match=r"labels-00002.*CUDA out of memory"):
        label(tmp_path / "labels", failing, ray="local")
    assert sorted(path.name for path in (tmp_path / "labels").iterdir()) == ["labels-00000.parquet", "labels-00001.parquet"]


def test_a_teacher_is_unpacked_once_where_its_folder_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERANKER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("reranker_distill.labelling.shipped_teacher._CHUNK", 7)
    folder = tmp_path / "1-teacher"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(bytes(range(30)))
    (folder / "teacher.json").write_text("{}")
    fetched: list[int] = []
    store: list[bytes] = []

    def put(chunk: bytes) -> int:
        store.append(chunk)
        return len(store) - 1

    def get(chunk: int) -> bytes:
        fetched.append(chunk)
        return store[chunk]

    shipped = ship(folder, put)
    assert shipped.folder(get) == folder
    assert not fetched
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(bytes(30))  # another machine's teacher at the same path
    copy = shipped.folder(get)
    assert (copy / "model.safetensors").read_bytes() == bytes(range(30))
    assert (copy / "teacher.json").read_text() == "{}"
    assert shipped.folder(get) == copy
    assert len(fetched) == len(store)
