"""A run resumes where it stopped, and repeats only stages whose inputs have changed."""

from __future__ import annotations

import errno
import shutil
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from safetensors import SafetensorError

from reranker.errors import RerankerError
from reranker_distill.checkpoints import CHECKPOINTS, last_checkpoint
from reranker_distill.run import publish_bundles
from reranker_distill.runner import Runner
from tests.simple_stage import SimpleStage


def test_a_stage_runs_again_only_when_what_it_reads_has_changed(tmp_path: Path) -> None:
    runner, ran = Runner(tmp_path, lambda _: None), []

    def work(at: Path) -> dict[str, Any]:
        ran.append(at)
        (at / "out").write_text("x")
        return {"n": len(ran)}

    assert runner.run(SimpleStage("1-a", {"x": 1}, work)).report == {"n": 1}
    again = runner.run(SimpleStage("1-a", {"x": 1}, work))
    assert again.reused
    assert again.report == {"n": 1}
    assert runner.run(SimpleStage("1-a", {"x": 2}, work)).report == {"n": 2}


@pytest.mark.parametrize(("reads", "found"), [({"x": 1}, True), ({"x": 2}, False)])
def test_a_half_made_stage_resumes_unless_its_input_changed(tmp_path: Path, reads: dict[str, int], found: bool) -> None:
    runner, looked = Runner(tmp_path, lambda _: None), []

    def dies(at: Path) -> dict[str, Any]:
        (at / "shard").write_text("kept")
        raise KeyboardInterrupt

    def looks(at: Path) -> dict[str, Any]:
        looked.append((at / "shard").exists())
        return {}

    with pytest.raises(KeyboardInterrupt):
        runner.run(SimpleStage("1-a", {"x": 1}, dies))
    runner.run(SimpleStage("1-a", reads, looks))
    assert looked == [found]


def test_what_a_stage_had_made_is_kept_when_what_it_reads_changes_and_taken_back(tmp_path: Path) -> None:
    said: list[str] = []
    runner = Runner(tmp_path, said.append)

    def makes(at: Path) -> dict[str, Any]:
        (at / "out").write_text(str(len(said)))
        return {}

    def never(at: Path) -> dict[str, Any]:
        pytest.fail("it was made again")

    def dies(at: Path) -> dict[str, Any]:
        assert sorted(path.name for path in at.iterdir()) == ["started.json"]
        (at / "shard").write_text("half")
        raise KeyboardInterrupt

    def goes_on(at: Path) -> dict[str, Any]:
        assert (at / "shard").read_text() == "half"
        raise KeyboardInterrupt

    runner.run(SimpleStage("1-a", {"fold": 3, "seed": 1}, makes))
    runner.run(SimpleStage("1-a", {"fold": 0, "seed": 1}, makes))
    assert "since fold changed" in said[-2]
    assert str(tmp_path / "earlier" / "1-a") in said[-2]
    with pytest.raises(KeyboardInterrupt):
        runner.run(SimpleStage("1-a", {"fold": 1, "seed": 1}, dies))
    assert runner.run(SimpleStage("1-a", {"fold": 0, "seed": 1}, never)).reused
    with pytest.raises(KeyboardInterrupt):  # what was half made goes on
        runner.run(SimpleStage("1-a", {"fold": 1, "seed": 1}, goes_on))
    runner.run(SimpleStage("1-a", {"fold": 2, "seed": 1}, makes))  # it never takes the place of what is whole
    runner.run(SimpleStage("1-a", {"fold": 0, "seed": 1}, never))
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("at", range(6))
def test_a_kill_between_any_two_renamings_loses_nothing_that_was_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    runner, made = Runner(tmp_path, lambda _: None), []

    def makes(folder: Path) -> dict[str, Any]:
        made.append(folder)
        return {}

    runner.run(SimpleStage("1-a", {"fold": 0}, makes))
    runner.run(SimpleStage("1-a", {"fold": 1}, makes))
    rename, renamed = Path.rename, []

    def killed(self: Path, target: Path) -> Path:
        if len(renamed) == at:
            raise KeyboardInterrupt
        renamed.append(self)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", killed)
    with suppress(KeyboardInterrupt):
        runner.run(SimpleStage("1-a", {"fold": 0}, makes))
    monkeypatch.undo()
    for fold in (1, 0, 1):
        assert runner.run(SimpleStage("1-a", {"fold": fold}, makes)).reused
    assert len(made) == 2


def test_a_kill_while_what_was_made_is_removed_leaves_no_stage_that_counts_as_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = Runner(tmp_path, lambda _: None)
    for fold in (0, 1):
        runner.run(SimpleStage("1-a", {"fold": fold}, lambda at: {"n": (at / "shard").write_text("whole")}))

    def killed(folder: Path, **_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("reranker_distill.stage_folder.shutil.rmtree", killed)  # of fold 0, to make room for fold 1
    with pytest.raises(KeyboardInterrupt):
        runner.run(SimpleStage("1-a", {"fold": 2}, lambda at: {}))
    monkeypatch.undo()
    made: list[Path] = []
    runner.run(SimpleStage("1-a", {"fold": 0}, lambda at: {"n": len(made.append(at) or made)}))
    assert made


def test_a_stage_that_another_run_has_finished_is_taken_from_there(tmp_path: Path) -> None:
    def work(at: Path) -> dict[str, Any]:
        (at / "out").write_text("made")
        return {"n": 1}

    Runner(tmp_path / "other", lambda _: None).run(SimpleStage("1-a", {"x": 1}, work))
    said: list[str] = []
    runner = Runner(tmp_path / "own", said.append, [tmp_path / "nowhere", tmp_path / "other"])
    assert runner.run(SimpleStage("1-a", {"x": 3}, lambda at: {"own": 1})).report == {"own": 1}
    Runner(tmp_path / "third", lambda _: None, [tmp_path / "other"]).run(SimpleStage("1-a", {"x": 1}, lambda at: {}))
    assert not (tmp_path / "third" / "1-a" / "out").exists()  # not asked for

    def never(at: Path) -> dict[str, Any]:
        pytest.fail("it was made again")

    (tmp_path / "own" / ".1-a.new").mkdir()  # a copy that was killed
    taken = runner.run(SimpleStage("1-a", {"x": 1}, never, shareable=True))
    assert (taken.reused, taken.report, taken.folder) == (True, {"taken_from": "other", "n": 1}, tmp_path / "own" / "1-a")
    assert (taken.folder / "out").read_text() == "made"
    assert said[-1] == f"1-a: taken from {tmp_path / 'other'}"
    assert runner.run(SimpleStage("1-a", {"x": 1}, never)) == taken
    assert runner.run(SimpleStage("1-a", {"x": 2}, lambda at: {"n": 2}, shareable=True)).report == {"n": 2}
    assert (tmp_path / "other" / "1-a" / "out").exists()
    assert sorted(path.name for path in (tmp_path / "own").iterdir()) == ["1-a", "earlier"]


def test_a_disk_that_fills_up_while_a_stage_is_taken_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def makes(at: Path) -> dict[str, Any]:
        (at / "out").write_text("made")
        return {}

    def fills(*_: object) -> None:
        raise OSError(28, "No space left on device")

    Runner(tmp_path / "other", lambda _: None).run(SimpleStage("1-a", {"x": 1}, makes))
    runner = Runner(tmp_path / "own", lambda _: None, [tmp_path / "other"])
    runner.run(SimpleStage("1-a", {"x": 2}, makes))
    monkeypatch.setattr("shutil.copyfile", fills)
    with pytest.raises(RerankerError, match="disk is full"):
        runner.run(SimpleStage("1-a", {"x": 1}, makes, shareable=True))
    assert (tmp_path / "own" / "1-a" / "out").read_text() == "made"
    assert sorted(path.name for path in (tmp_path / "own").iterdir()) == ["1-a"]


def test_a_full_disk_is_reported_and_loses_nothing(tmp_path: Path) -> None:
    def fills(at: Path) -> dict[str, Any]:
        (at / "shard").write_text("kept")
        raise OSError(28, "No space left on device")

    with pytest.raises(RerankerError, match="disk is full"):
        Runner(tmp_path, lambda _: None).run(SimpleStage("1-a", {}, fills))
    assert (tmp_path / "1-a" / "shard").exists()


def test_two_processes_do_not_share_a_run(tmp_path: Path) -> None:
    with Runner(tmp_path, lambda _: None).locked(), pytest.raises(RerankerError, match="Another process"), Runner(tmp_path, lambda _: None).locked():
        pass


@pytest.mark.parametrize(
    ("error", "recognised"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (RuntimeError("[enforce fail at inline_container.cc:858] . PytorchStreamWriter failed writing file data/3: file write failed"), True),
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), True),
        (RuntimeError("shapes cannot be multiplied"), False),
    ],
)
def test_a_full_disk_is_recognised_by_any_library_s_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, recognised: bool) -> None:
    def work(at: Path) -> dict[str, Any]:
        raise error

    monkeypatch.setattr("reranker_distill.disk_space.shutil.disk_usage", lambda path: SimpleNamespace(free=4_000))
    with pytest.raises(RerankerError if recognised else type(error), match="disk is full" if recognised else None):
        Runner(tmp_path, lambda _: None).run(SimpleStage("1-a", {}, work))


def test_a_training_state_whose_writing_was_cut_short_is_passed_over(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    for step, state in ((20, "{}"), (100, "{}"), (120, None), (130, "{}"), (140, '{"global_step"')):
        folder = tmp_path / CHECKPOINTS / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        if step != 130:
            (folder / "model.safetensors").write_bytes(b"weights")
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == str(tmp_path / CHECKPOINTS / "checkpoint-100")


def test_a_disk_that_fills_up_as_bundles_are_handed_out_leaves_those_of_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passed, run = tmp_path / "passed", tmp_path / "run"
    for variant in ("student", "fast"):
        (passed / "bundles" / variant).mkdir(parents=True)
        (passed / "bundles" / variant / "manifest.json").write_text(variant)
    (passed / "vectors" / "space").mkdir(parents=True)
    (passed / "vectors" / "space" / "part.npy").write_text("vectors")
    publish_bundles(passed, "student", run)
    assert (run / "bundle" / "manifest.json").read_text() == "student"
    assert (run / "bundles" / "fast" / "manifest.json").read_text() == "fast"
    assert (run / "vectors" / "space" / "part.npy").read_text() == "vectors"

    copyfile = shutil.copyfile

    def fills(source: Path, target: Path) -> None:
        if source.name == "part.npy":  # the last of them
            raise OSError(errno.ENOSPC, "No space left on device")
        copyfile(source, target)

    monkeypatch.setattr("shutil.copyfile", fills)
    with pytest.raises(RerankerError, match="disk is full: copying the bundles"):
        publish_bundles(passed, "fast", run)
    assert (run / "bundle" / "manifest.json").read_text() == "student"
    assert sorted(path.name for path in run.iterdir()) == ["bundle", "bundles", "vectors"]


def test_what_an_earlier_run_handed_out_and_this_one_has_none_of_is_removed(tmp_path: Path) -> None:
    passed, run = tmp_path / "passed", tmp_path / "run"
    (passed / "bundles" / "student").mkdir(parents=True)
    (run / "bundles" / "fast").mkdir(parents=True)
    (run / "vectors").mkdir()
    publish_bundles(passed, "student", run)
    assert sorted(path.name for path in run.iterdir()) == ["bundle"]
