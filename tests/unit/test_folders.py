"""Folders that are replaced as a whole: a process killed at any step, and several at once, leave a whole old or a whole new one."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from unittest import mock

import pytest

from reranker.bundle import load_bundle
from reranker.embedded import EmbeddedFirstStage, build_index
from reranker.errors import StorageError
from reranker.folders import copy_files, explain_unwritten, recover, whole_file, whole_folder
from tests.tiny_bundle import make_tiny_bundle

STEPS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "fcntl.flock"}


def killed_at(step: int, work: Callable[[], None]) -> bool:
    """Do the work in a process of its own that is killed before its ``step``-th change of files; return whether there was one."""
    child = os.fork()
    if child == 0:
        left = step

        def on_event(event: str, _: object) -> None:
            nonlocal left
            if event in STEPS:
                left -= 1
                if not left:
                    os._exit(9)

        try:
            sys.addaudithook(on_event)
            work()
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 9


def replace(target: Path, source: Path) -> None:
    with whole_folder(target) as staging:
        copy_files(source, staging)


def replace_in_an_image(target: Path, source: Path) -> None:
    """Replace a folder that overlayfs does not let rename."""

    def rename(path: Path, to: Path) -> None:
        if path == target:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        os.rename(path, to)

    with mock.patch.object(Path, "rename", rename):
        replace(target, source)


@pytest.mark.parametrize(("first", "replacing"), [(True, replace), (False, replace), (False, replace_in_an_image)])
def test_after_a_kill_at_any_step_the_next_start_has_a_whole_index_and_no_leftovers(
    tmp_path: Path, first: bool, replacing: Callable[[Path, Path], None]
) -> None:
    for name, products in (("old", 2), ("new", 3)):
        build_index(tmp_path / "made" / name, [{"id": str(i), "title": "lamp"} for i in range(products)])
    target = tmp_path / "home" / "products"
    seen = set()
    step = 0
    killed = True
    while killed:
        step += 1
        if not first:
            replace(target, tmp_path / "made" / "old")
        killed = killed_at(step, lambda: replacing(target, tmp_path / "made" / "new"))
        recover(target)
        if target.exists() or not first:
            seen.add(EmbeddedFirstStage(target).count())
        assert [path.name for path in target.parent.glob("*")] == (["products"] if target.exists() else [])
        if first and target.exists():
            break
    assert seen == ({3} if first else {2, 3})
    assert step > 10
    replace(target, tmp_path / "made" / "old")
    assert [path.name for path in target.parent.iterdir()] == ["products"]


def test_a_bundle_that_was_being_replaced_is_recovered_when_it_is_loaded(tmp_path: Path) -> None:
    target, new = make_tiny_bundle(tmp_path / "bundle"), make_tiny_bundle(tmp_path / "new", level=5.0)
    versions = {load_bundle(target).version, load_bundle(new).version}
    assert len(versions) == 2
    for step in range(1, 100):
        if not killed_at(step, lambda: replace(target, new)):
            break
        assert load_bundle(target).version in versions
    assert load_bundle(target).version == load_bundle(new).version


def test_what_a_live_process_writes_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "products"
    with whole_folder(target) as staging:
        (staging / "new").touch()
        recover(target)
        assert not target.exists()
        assert (staging / "new").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["products"]


def test_two_that_write_at_once_take_turns(tmp_path: Path) -> None:
    target = tmp_path / "products"
    inside = 0

    def write(number: int) -> None:
        nonlocal inside
        for _ in range(20):
            with whole_folder(target) as staging:
                inside += 1
                assert inside == 1
                for name in ("a", "b"):
                    (staging / name).write_text(str(number))
                inside -= 1

    failed: list[BaseException] = []

    def watched(number: int) -> None:
        try:
            write(number)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=watched, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len({path.read_text() for path in target.iterdir()}) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["products"]


def test_after_an_error_the_old_folder_and_file_are_unchanged(tmp_path: Path) -> None:
    replace(tmp_path / "folder", make_tiny_bundle(tmp_path / "bundle"))
    (tmp_path / "file.txt").write_text("old")
    for replacing in (whole_folder(tmp_path / "folder"), whole_file(tmp_path / "file.txt")):
        with suppress(RuntimeError), replacing as staging:
            (staging / "x" if staging.is_dir() else staging).write_text("half")
            raise RuntimeError
    assert (tmp_path / "file.txt").read_text() == "old"
    load_bundle(tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "file.txt", "folder"]


def test_a_link_to_a_folder_is_replaced_and_what_it_points_to_stays(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for name in ("a", "b"):
        with whole_folder(tmp_path / "link") as staging:
            (staging / name).touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real"]
    assert [path.name for path in (tmp_path / "link").iterdir()] == ["b"]


def test_what_could_not_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"The index cannot be written to .*Not a directory") as caught, explain_unwritten("The index", tmp_path, "Do that."):
        (tmp_path / "file" / "inside").write_text("")
    assert caught.value.hint == "Do that."
