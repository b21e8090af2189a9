"""A run goes on where it stopped, and repeats only what has changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill.labelling import label_pairs
from distill.pairs import Pair, read_labelled
from distill.recipe import Labelling
from distill.stages import Stages
from reranker.errors import RerankerError


class CountingTeacher:
    """Labels by a rule, and dies before its n-th shard."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.labelled: list[tuple[str, str]] = []
        self.calls = 0
        self.dies_at = dies_at

    def distributions(self, pairs: Sequence[tuple[str, Any]], *, tokens_per_batch: int, on_pairs: Callable[[int], None] | None) -> np.ndarray:
        self.calls += 1
        if self.calls == self.dies_at:
            raise KeyboardInterrupt
        self.labelled += [(query, product["id"]) for query, product in pairs]
        grade = [int(product["id"]) % 4 for _, product in pairs]
        return np.eye(4, dtype=np.float32)[grade]


def test_a_labelling_that_was_killed_labels_nothing_twice(tmp_path: Path) -> None:
    products = {str(i): {"id": str(i), "title": f"product {i}"} for i in range(25)}
    pairs = [Pair("q", i, "log/rank 1") for i in products]
    settings = Labelling(shard_size=10)
    first = CountingTeacher(dies_at=2)
    with pytest.raises(KeyboardInterrupt):
        label_pairs(pairs, products, first, folder=tmp_path, settings=settings)
    second = CountingTeacher()
    shards = label_pairs(pairs, products, second, folder=tmp_path, settings=settings)
    assert len(first.labelled) == 10
    assert len(second.labelled) == 15
    labelled = read_labelled(shards)
    assert [p.product_id for p in labelled] == list(products)
    assert labelled[6].relevance == pytest.approx((6 % 4) / 3)
    assert labelled[0].source == "log/rank 1"


def test_a_stage_runs_again_only_when_what_it_reads_has_changed(tmp_path: Path) -> None:
    stages, ran = Stages(tmp_path, lambda _: None), []

    def work(at: Path) -> dict[str, Any]:
        ran.append(at)
        (at / "out").write_text("x")
        return {"n": len(ran)}

    assert stages.run("1-a", {"x": 1}, work).report == {"n": 1}
    again = stages.run("1-a", {"x": 1}, work)
    assert again.reused
    assert again.report == {"n": 1}
    assert stages.run("1-a", {"x": 2}, work).report == {"n": 2}


def test_a_half_made_stage_goes_on_unless_its_input_changed(tmp_path: Path) -> None:
    stages, found = Stages(tmp_path, lambda _: None), []

    def dies(at: Path) -> dict[str, Any]:
        (at / "shard").write_text("kept")
        raise KeyboardInterrupt

    def looks(at: Path) -> dict[str, Any]:
        found.append((at / "shard").exists())
        return {}

    for reads in ({"x": 1}, {"x": 2}):
        with pytest.raises(KeyboardInterrupt):
            stages.run("1-a", {"x": 1}, dies)
        stages.run("1-a", reads, looks)
        stages.run("1-a", {"x": 0}, lambda at: {})
    assert found == [True, False]


def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path) -> None:
    def fills(at: Path) -> dict[str, Any]:
        (at / "shard").write_text("kept")
        raise OSError(28, "No space left on device")

    with pytest.raises(RerankerError, match="disk is full"):
        Stages(tmp_path, lambda _: None).run("1-a", {}, fills)
    assert (tmp_path / "1-a" / "shard").exists()


def test_two_processes_do_not_share_a_run(tmp_path: Path) -> None:
    with Stages(tmp_path, lambda _: None).locked(), pytest.raises(RerankerError, match="Another process"), Stages(tmp_path, lambda _: None).locked():
        pass
