"""The stages of a run: each has a folder and a fingerprint of what it read, and reruns only when that has changed.

What a stage had made before is then kept in the run's folder ``earlier``, one generation of what was finished and one of what was
half made, and taken back where the same is asked for again.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from reranker.errors import RerankerError
from reranker.folders import copy_files, whole_file, whole_folder
from reranker_distill.checkpoints import CHECKPOINTS
from reranker_distill.disk_space import free_bytes

_DONE = "stage.json"
_STARTED = "started.json"

EARLIER = "earlier"
"""What a run's stages had made when they read something else; laid out as a run's folder, so that labels can be reused from there."""

HALF_MADE = ".half"
"""What the name of a stage's folder ends with in ``EARLIER`` where the stage had not been finished."""

_FULL_BYTES = 100_000_000
"""A disk with less room than this is full, where a training state could not be written."""


class Stage(NamedTuple):
    """A finished stage: its folder, the fingerprint of what it read, what it tells the report, and how long it took.

    ``made`` tells it, and its copies, from a stage that read the same and was made another time: trainings end a little differently.
    """

    folder: Path
    fingerprint: str
    report: dict[str, Any]
    seconds: float
    reused: bool
    made: str = ""


class Stages:
    """Runs stages in a run folder, each as ``action(folder) -> report``.

    A stage's half-made folder is kept for it to go on from. Where what it reads has changed, what it made is set aside in
    ``EARLIER`` and told of. A stage that may be taken over and that one of the runs ``others`` has finished, having read the same,
    is copied from there.
    """

    def __init__(self, folder: Path, say: Callable[[str], None], others: Sequence[Path] = ()) -> None:
        self.folder = folder
        self._say = say
        self._others = others

    def run(self, name: str, reads: Mapping[str, Any], action: Callable[[Path], dict[str, Any]], *, may_be_taken: bool = False) -> Stage:
        """Run one stage, or reuse it.

        Args:
            name: the stage's folder, with its number in front.
            reads: everything the stage depends on, as JSON: settings, fingerprints of stages before it, hashes of files.
            action: does the work in the folder it is given, and returns what the report says of it.
            may_be_taken: another run's will do; its report then says whose it is, as ``taken_from``.

        Raises:
            RerankerError: the disk is full.
        """
        folder = self.folder / name
        fingerprint = fingerprint_of(reads)
        self._mend(name)
        done = stage_in(folder)
        if done and done.fingerprint == fingerprint:
            self._say(f"{name}: done before, {done.seconds:,.0f} s")
            return done
        for kept in self._kept(name):
            if fingerprint_in(folder) != fingerprint and fingerprint_in(kept) == fingerprint:
                self._take_back(name, kept)
                if done := stage_in(folder):
                    self._say(f"{name}: done earlier, {done.seconds:,.0f} s")
                    return done
        with full_disk_told(name, folder):
            if may_be_taken and (source := self._elsewhere(name, fingerprint)):
                return self._take(source, name)
            resumed = fingerprint_in(folder) == fingerprint
            anew = "" if resumed else self._set_aside(name, reads)
            folder.mkdir(parents=True, exist_ok=True)
            _write(folder / _STARTED, {"fingerprint": fingerprint, "reads": parts_of(reads)})
            self._say(f"{name}: {'goes on' if resumed else 'begins' + anew}")
            began = time.perf_counter()
            report = action(folder)
            seconds = round(time.perf_counter() - began, 1)
            made = uuid.uuid4().hex
            _write(folder / _DONE, {"fingerprint": fingerprint, "seconds": seconds, "report": report, "resumed": resumed, "made": made})
            shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
        self._say(f"{name}: done, {seconds:,.0f} s")
        return Stage(folder, fingerprint, report, seconds, False, made)

    def _kept(self, name: str) -> tuple[Path, Path]:
        """Return where what a stage had made is kept: what was finished, and what was half made."""
        return self.folder / EARLIER / name, self.folder / EARLIER / f"{name}{HALF_MADE}"

    def _set_aside(self, name: str, reads: Mapping[str, Any]) -> str:
        """Put what a stage had made into ``EARLIER``; return what users are told of it."""
        folder = self.folder / name
        if not folder.exists():
            return ""
        started = parts_in(folder)
        parts = parts_of(reads)
        changed = sorted(part for part in started.keys() | parts.keys() if started.get(part) != parts.get(part)) if started and parts else []
        why = f" anew, since {', '.join(changed)} changed" if changed else " anew"
        if {path.name for path in folder.iterdir()} <= {_STARTED}:
            _discard(folder)
            return why
        finished, half_made = self._kept(name)
        kept = finished if stage_in(folder) else half_made
        kept.parent.mkdir(exist_ok=True)
        _discard(kept)
        folder.rename(kept)
        return f"{why}; what was made before is kept in {kept}"

    def _take_back(self, name: str, kept: Path) -> None:
        """Exchange a stage's folder for one in ``EARLIER``; stopped midway, ``_mend`` ends it."""
        kept.rename(self._back(name))
        self._mend(name)

    def _mend(self, name: str) -> None:
        """Put in its place what is being taken back, or was as the run was killed."""
        back = self._back(name)
        if back.exists():
            self._set_aside(name, {})
            back.rename(self.folder / name)

    def _back(self, name: str) -> Path:
        return self.folder / EARLIER / f".{name}.back"

    def _elsewhere(self, name: str, fingerprint: str) -> Stage | None:
        found = (stage_in(other / name) for other in self._others)
        return next((stage for stage in found if stage and stage.fingerprint == fingerprint), None)

    def _take(self, source: Stage, name: str) -> Stage:
        for left in self.folder.glob(f".{name}.*"):  # by a copy that was killed
            shutil.rmtree(left, ignore_errors=True)
        folder, run = self.folder / name, source.folder.parent
        report = {"taken_from": run.name, **source.report}
        with whole_folder(folder) as copy:
            copy_files(source.folder, copy)
            _write(copy / _DONE, {"fingerprint": source.fingerprint, "seconds": source.seconds, "report": report, "made": source.made})
            self._set_aside(name, {})
        self._say(f"{name}: taken from {run}")
        return source._replace(folder=folder, report=report)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second process out of the run folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise RerankerError(f"Another process is at work in {self.folder}.", hint="Wait for it, or give another folder with --run.") from None
            yield


@contextmanager
def full_disk_told(name: str, folder: Path) -> Iterator[None]:
    """Turn the error of a full disk into one that says what stopped where.

    Raises:
        RerankerError: the disk is full.
    """
    try:
        yield
    except Exception as error:
        if not _is_of_a_full_disk(error, folder):
            raise
        raise RerankerError(
            f"The disk is full: {name} stopped in {folder}.",
            hint=f"Free some space and run the same command: it goes on from there. What the run made for other recipes lies in its folder {EARLIER}.",
        ) from error


def _is_of_a_full_disk(error: Exception, folder: Path) -> bool:
    """Tell a full disk's error. torch says only that a write failed, and safetensors puts the number into its text."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOSPC
    if "No space left on device" in str(error):
        return True
    return isinstance(error, RuntimeError) and "file write failed" in str(error) and free_bytes(folder) < _FULL_BYTES


def fingerprint_of(reads: Mapping[str, Any]) -> str:
    """Return what tells a stage that read this from one that read anything else."""
    return hashlib.sha256(json.dumps(reads, sort_keys=True, default=str).encode()).hexdigest()[:16]


def stage_in(folder: Path) -> Stage | None:
    """Return the finished stage whose folder this is, or None."""
    done = read_object(folder / _DONE)
    return Stage(folder, done["fingerprint"], done["report"], done["seconds"], True, done.get("made", "")) if done else None


def fingerprint_in(folder: Path) -> str | None:
    """Return the fingerprint of the stage that was finished or begun in a folder, or None."""
    done = stage_in(folder)
    return done.fingerprint if done else (read_object(folder / _STARTED) or {}).get("fingerprint")


def parts_in(folder: Path) -> dict[str, str]:
    """Return the fingerprints of what the stage in a folder read, each by itself, as ``parts_of``; empty where none was begun."""
    return (read_object(folder / _STARTED) or {}).get("reads") or {}


def parts_of(reads: Mapping[str, Any]) -> dict[str, str]:
    """Return a fingerprint of each thing read, so that it can be told which changed."""
    return {name: fingerprint_of({name: value}) for name, value in reads.items()}


def _discard(folder: Path) -> None:
    """Remove a folder; stopped midway, what is left of it counts as no stage."""
    for name in (_DONE, _STARTED):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def read_object(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file; None where there is none, or it cannot be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _write(path: Path, value: Mapping[str, Any]) -> None:
    with whole_file(path) as staging:
        staging.write_text(json.dumps(value, indent=2, default=str), encoding="utf-8")
