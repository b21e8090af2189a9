"""A run reuses its labels, even from stages that were interrupted or set aside."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from reranker_distill.pairs import LabelledPair, write_rows
from reranker_distill.runner import Runner
from reranker_distill.stage_folder import similar_outputs
from reranker_distill.stages.labels import known_labels
from tests.simple_stage import SimpleStage

LABELS = "3-labels"


def reads(pairs: str, teacher: str = "t") -> dict[str, Any]:
    return {"teacher": teacher, "pairs": pairs}


def known(run: Path, pairs: str, teacher: str = "t") -> set[tuple[str, str]]:
    """Return the pairs whose labels of the same teacher are found in a run."""
    return set(known_labels(similar_outputs([run], LABELS, reads(pairs, teacher), ignore=("pairs",))))


def label(run: Path, of: str, *products: str, half: bool = False) -> None:
    """Let a run label a query's products, or begin to."""

    def action(at: Path) -> dict[str, Any]:
        for number, product in enumerate(products):
            write_rows(at / f"labels-{number:05d}.parquet", [LabelledPair(of, product, "log/rank 1", (0.0, 1.0))])
        if half:
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt) if half else nullcontext():
        Runner(run, lambda _: None).run(SimpleStage(LABELS, reads(of), action))


def test_labels_of_what_was_finished_and_of_what_was_half_made_are_known(tmp_path: Path) -> None:
    label(tmp_path, "laptop", "1", "2")
    label(tmp_path, "hose", "3", half=True)
    label(tmp_path, "lamp")
    assert known(tmp_path, "bag") == {("laptop", "1"), ("laptop", "2"), ("hose", "3")}
    assert known(tmp_path, "bag", teacher="another") == set()
    assert known(tmp_path / "nowhere", "bag") == set()


def test_a_shard_that_was_cut_short_is_passed_over(tmp_path: Path) -> None:
    label(tmp_path, "laptop", "1", "2")
    shard = tmp_path / LABELS / "labels-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-40])
    assert known(tmp_path, "bag") == {("laptop", "1")}


def test_a_teacher_trained_again_is_another(tmp_path: Path) -> None:
    once, again = (Runner(tmp_path / name, lambda _: None).run(SimpleStage("1-teacher", {"seed": 1}, lambda at: {})) for name in ("once", "again"))
    copying = Runner(tmp_path / "third", lambda _: None, [tmp_path / "once"])
    taken = copying.run(SimpleStage("1-teacher", {"seed": 1}, lambda at: {}, shareable=True))
    assert once.build == taken.build != again.build
