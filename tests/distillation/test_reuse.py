"""Labels that a run has are not made again, whatever became of the run since."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reranker_distill.pairs import LabelledPair, write_rows
from reranker_distill.reuse import known_labels
from reranker_distill.stages import EARLIER, Stages

LABELS = "3-labels"


def reads(pairs: str, teacher: str = "t", shards: int = 10) -> dict[str, Any]:
    return {"teacher": teacher, "precision": None, "pairs": pairs, "shards": shards}


def label(run: Path, of: str, *products: str, half: bool = False) -> None:
    """Let a run label a query's products, or begin to."""

    def action(at: Path) -> dict[str, Any]:
        for number, product in enumerate(products):
            write_rows(at / f"labels-{number:05d}.parquet", [LabelledPair(of, product, "log/rank 1", (0.0, 1.0))])
        if half:
            raise KeyboardInterrupt
        return {}

    if half:
        with pytest.raises(KeyboardInterrupt):
            Stages(run, lambda _: None).run(LABELS, reads(of), action)
    else:
        Stages(run, lambda _: None).run(LABELS, reads(of), action)


def test_labels_of_what_was_finished_and_of_what_was_half_made_are_known(tmp_path: Path) -> None:
    label(tmp_path, "laptop", "1", "2")
    label(tmp_path, "hose", "3", half=True)
    label(tmp_path, "lamp")
    known = known_labels([tmp_path / EARLIER], LABELS, reads("bag", shards=99))
    assert set(known) == {("laptop", "1"), ("laptop", "2"), ("hose", "3")}
    assert known_labels([tmp_path / EARLIER], LABELS, reads("bag", teacher="another")) == {}
    assert known_labels([tmp_path / "nowhere"], LABELS, reads("bag")) == {}


def test_a_shard_that_was_cut_short_is_passed_over(tmp_path: Path) -> None:
    label(tmp_path, "laptop", "1", "2")
    shard = tmp_path / LABELS / "labels-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-40])
    assert set(known_labels([tmp_path], LABELS, reads("bag"))) == {("laptop", "1")}


def test_a_teacher_trained_again_is_another(tmp_path: Path) -> None:
    once, again = (Stages(tmp_path / name, lambda _: None).run("1-teacher", {"seed": 1}, lambda at: {}) for name in ("once", "again"))
    taken = Stages(tmp_path / "third", lambda _: None, [tmp_path / "once"]).run("1-teacher", {"seed": 1}, lambda at: {}, may_be_taken=True)
    assert once.made == taken.made != again.made
