"""Labelling loses no finished shard, keeps none that is not what it should be, and labels nothing twice."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from reranker.errors import RerankerError
from reranker_distill.labelling import label_pairs
from reranker_distill.pairs import Pair, read_labelled
from reranker_distill.precision import dtype_of
from reranker_distill.runner import Runner
from reranker_distill.teacher import load_teacher
from tests.rule_labeller import PAIRS, PRODUCTS, RuleLabeller
from tests.simple_stage import SimpleStage
from tests.tiny_teacher import make_tiny_teacher


def label(folder: Path, labeller: RuleLabeller, pairs: list[Pair] = PAIRS, **others: Any) -> list[Path]:
    return label_pairs(pairs, PRODUCTS, labeller, folder=folder, shard_size=10, **others)


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    """Three shards, of 10, 10 and 5 pairs."""
    (tmp_path / "labels").mkdir()
    return label(tmp_path / "labels", RuleLabeller(tmp_path / "first"))


def test_a_killed_labelling_goes_on_with_the_shard_it_was_at(tmp_path: Path) -> None:
    first = RuleLabeller(tmp_path / "first", fails_on="13", error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        label(tmp_path, first)
    progress: list[int] = []
    second = RuleLabeller(tmp_path / "second")
    labelled = read_labelled(label(tmp_path, second, on_pairs=progress.append))
    assert [len(ids) for ids in first.noted()] == [10]
    assert [len(ids) for ids in second.noted()] == [10, 5]
    assert [row[:3] for row in labelled] == PAIRS
    assert labelled[6].distribution == pytest.approx((0.1 / 1.4, 0.1 / 1.4, 1.1 / 1.4, 0.1 / 1.4))
    assert progress == [10, 10, 5]


def test_finished_shards_need_no_teacher(shards: list[Path]) -> None:
    assert label_pairs(PAIRS, PRODUCTS, Path("nowhere"), folder=shards[0].parent, shard_size=10) == shards


@pytest.mark.parametrize("harm", ["truncated", "empty", "bit flipped", "another kind of file"])
def test_a_harmed_shard_is_labelled_again_and_the_others_are_not(shards: list[Path], harm: str, tmp_path: Path) -> None:
    whole = shards[1].read_bytes()
    flipped = bytearray(whole)
    flipped[20] ^= 1
    shards[1].write_bytes({"truncated": whole[: len(whole) // 2], "empty": b"", "bit flipped": bytes(flipped), "another kind of file": b"hello" * 9}[harm])
    again = RuleLabeller(tmp_path / "again")
    label(shards[0].parent, again)
    assert again.noted() == [[pair.product_id for pair in PAIRS[10:20]]]
    assert [row[:3] for row in read_labelled(shards)] == PAIRS


def test_a_shard_of_other_pairs_is_labelled_again(shards: list[Path], tmp_path: Path) -> None:
    other = [*PAIRS[:10], *(pair._replace(query="another") for pair in PAIRS[10:20]), *PAIRS[20:]]
    again = RuleLabeller(tmp_path / "again")
    assert [row[:3] for row in read_labelled(label(shards[0].parent, again, other))] == other
    assert [len(ids) for ids in again.noted()] == [10]


def test_shards_and_halves_of_an_earlier_labelling_are_removed(shards: list[Path]) -> None:
    folder = shards[0].parent
    (folder / ".labels-00001.parquet.4711").write_bytes(b"half")
    left = label(folder, RuleLabeller(folder / "notes"), PAIRS[:10])
    assert sorted(folder.glob("*labels-*")) == left == shards[:1]


def test_like_pairs_are_labelled_once_and_each_keeps_its_row(tmp_path: Path) -> None:
    repeated = [*PAIRS, *(pair._replace(source="catalogue/random") for pair in PAIRS[:4]), *PAIRS[22:]]
    labeller, progress = RuleLabeller(tmp_path / "notes"), []
    labelled = read_labelled(label(tmp_path, labeller, repeated, on_pairs=progress.append))
    assert [len(ids) for ids in labeller.noted()] == [10, 10, 5]
    assert sorted(row[:3] for row in labelled) == sorted(repeated)
    assert len({row.distribution for row in labelled if row.product_id == "3"}) == 1
    assert sum(progress) == len(repeated)


def test_what_the_same_teacher_has_labelled_before_is_not_labelled_again(shards: list[Path], tmp_path: Path) -> None:
    before = {(row.query, row.product_id): row.distribution for row in read_labelled(shards)}
    known = {(pair.query, pair.product_id): before[pair.query, pair.product_id] for pair in PAIRS[:15]}
    for name in ("more", "all"):
        (tmp_path / name).mkdir()
    labeller, progress = RuleLabeller(tmp_path / "notes"), []
    paths = label(tmp_path / "more", labeller, known=known, on_pairs=progress.append)
    assert labeller.noted() == [[pair.product_id for pair in PAIRS[15:20]], [pair.product_id for pair in PAIRS[20:]]]
    assert read_labelled(paths) == read_labelled(shards)
    assert sum(progress) == len(PAIRS)
    assert read_labelled(label_pairs(PAIRS, PRODUCTS, Path("nowhere"), folder=tmp_path / "all", shard_size=10, known=before)) == read_labelled(shards)


def test_a_full_disk_is_reported_and_costs_no_finished_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole_write, written = pq.write_table, []

    def fills(table: Any, path: Path, **options: Any) -> None:
        written.append(path)
        if len(written) == 2:
            path.write_bytes(b"PAR1 half")
            raise OSError(errno.ENOSPC, "Error writing bytes to file")
        whole_write(table, path, **options)

    def work(at: Path) -> dict[str, Any]:
        label(at, labeller)
        return {}

    monkeypatch.setattr(pq, "write_table", fills)
    labeller = RuleLabeller(tmp_path / "notes")
    runner = Runner(tmp_path, lambda _: None)
    with pytest.raises(RerankerError, match="disk is full") as error:
        runner.run(SimpleStage("3-labels", {}, work))
    assert "resumes there" in (error.value.hint or "")
    assert [path.name for path in (tmp_path / "3-labels").iterdir() if "labels" in path.name] == ["labels-00000.parquet"]
    runner.run(SimpleStage("3-labels", {}, work))
    assert [len(ids) for ids in labeller.noted()] == [10, 10, 10, 5]  # the second shard only was labelled again


def test_labels_that_are_no_numbers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RuleLabeller, "distributions", lambda self, pairs, **_: np.full((len(pairs), 4), np.nan))
    with pytest.raises(RerankerError, match="not finite"):
        label(tmp_path, RuleLabeller(tmp_path / "notes"))
    assert not list(tmp_path.glob("labels-*"))


def test_a_teacher_labels_in_bfloat16_much_as_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reranker_distill.precision.has_bfloat16", lambda: True)
    pairs = [(f"laptop {i % 7}", product) for i, product in enumerate(PRODUCTS.values())]
    exact, rough = (load_teacher(make_tiny_teacher(tmp_path / str(bf16), bf16=bf16)).distributions(pairs) for bf16 in (False, True))
    assert rough.dtype == np.float32
    assert rough.sum(axis=1) == pytest.approx(1, abs=1e-3)
    assert 0 < np.abs(exact - rough).mean() < 0.1


def test_a_machine_without_bfloat16_loads_and_labels_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reranker_distill.precision.has_bfloat16", lambda: False)
    pairs = [(f"laptop {i % 7}", product) for i, product in enumerate(PRODUCTS.values())]
    exact, same = (load_teacher(make_tiny_teacher(tmp_path / str(bf16), bf16=bf16)).distributions(pairs) for bf16 in (False, True))
    np.testing.assert_array_equal(same, exact)
    assert dtype_of("bfloat16") == torch.float32
