"""Runs the stages of a run in order; each reruns only when its inputs have changed.

An interrupted stage resumes from what is in its folder. When a stage's inputs change, its output is set aside in the run's
folder ``earlier`` (the latest finished one and the latest unfinished one), and is taken back when the same inputs come again.
"""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reranker.errors import RerankerError
from reranker.folders import copy_files, whole_folder
from reranker_distill.checkpoints import CHECKPOINTS
from reranker_distill.disk_space import explain_full_disk
from reranker_distill.stage_folder import (
    EARLIER,
    STARTED,
    StageResult,
    discard,
    fingerprint_in,
    fingerprint_of,
    mark_finished,
    mark_started,
    new_build,
    part_fingerprints,
    parts_in,
    result_in,
)
from reranker_distill.stages.stage import Stage


class Runner:
    """Runs stages in a run's folder.

    Args:
        say: shows a line to the user.
        reuse: folders of other runs, whose outputs of shareable stages are copied where the inputs are the same.
    """

    def __init__(self, folder: Path, say: Callable[[str], None], reuse: Sequence[Path] = ()) -> None:
        self.folder = folder
        self._say = say
        self._reuse = reuse

    def run_all(self, stages: Iterable[Stage]) -> dict[str, StageResult]:
        """Run stages one after the other and return their results by the names that the report gives them.

        Raises:
            RerankerError: the disk is full; or what a stage raises.
        """
        return {stage.report_name: self.run(stage) for stage in stages}

    def run(self, stage: Stage) -> StageResult:
        """Run one stage or reuse its output, and set its ``result``.

        Raises:
            RerankerError: the disk is full; or what the stage raises.
        """
        reads = stage.reads()
        result = self._reused(stage, fingerprint_of(reads))
        if result:
            stage.on_reused()
        else:
            result = self._run(stage, reads)
        stage.result = result
        return result

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second process out of the run's folder.

        Raises:
            RerankerError: another process is at work there.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise RerankerError(f"Another process is at work in {self.folder}.", hint="Wait for it, or give another folder with --run.") from None
            yield

    def _run(self, stage: Stage, reads: Mapping[str, Any]) -> StageResult:
        name, folder, fingerprint = stage.name, self.folder / stage.name, fingerprint_of(reads)
        with explain_full_disk(name, folder):
            if fingerprint_in(folder) == fingerprint:
                self._say(f"{name}: resumes")
            else:
                self._say(f"{name}: begins{self._set_aside(name, reads)}")
            folder.mkdir(parents=True, exist_ok=True)
            mark_started(folder, reads)
            began = time.perf_counter()
            report = stage.run(folder)
            result = StageResult(folder, fingerprint, report, round(time.perf_counter() - began, 1), new_build(), reused=False)
            mark_finished(result)
            shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
        self._say(f"{name}: done, {result.seconds:,.0f} s")
        return result

    def _reused(self, stage: Stage, fingerprint: str) -> StageResult | None:
        """Return the output of the same inputs: in place, set aside, or copied from another run; None where there is no finished one."""
        folder = self.folder / stage.name
        kept = self._kept(stage.name, fingerprint)
        if fingerprint_in(folder) != fingerprint and fingerprint_in(kept) == fingerprint:
            self._set_aside(stage.name, {}, keep=kept)
            kept.rename(folder)
        result = result_in(folder)
        if result and result.fingerprint == fingerprint:
            self._say(f"{stage.name}: done before, {result.seconds:,.0f} s")
            return result
        found = [result_in(run / stage.name) for run in self._reuse] if stage.shareable else []
        source = next((other for other in found if other and other.fingerprint == fingerprint), None)
        return self._copy(source, stage.name) if source else None

    def _copy(self, source: StageResult, name: str) -> StageResult:
        folder, run = self.folder / name, source.folder.parent
        report = {"taken_from": run.name, **source.report}
        with explain_full_disk(name, folder), whole_folder(folder) as copy:
            copy_files(source.folder, copy)
            mark_finished(source._replace(folder=copy, report=report))
            self._set_aside(name, {})
        self._say(f"{name}: taken from {run}")
        return source._replace(folder=folder, report=report)

    def _set_aside(self, name: str, reads: Mapping[str, Any], keep: Path | None = None) -> str:
        """Move a stage's output into ``EARLIER`` and return what to tell the user.

        Older outputs there of the same state, finished or not, are removed, but for ``keep``.
        """
        folder = self.folder / name
        if not folder.exists():
            return ""
        before, parts = parts_in(folder), part_fingerprints(reads)
        changed = sorted(part for part in before.keys() | parts.keys() if before.get(part) != parts.get(part)) if before and parts else []
        why = f" again, since {', '.join(changed)} changed" if changed else " again"
        if {path.name for path in folder.iterdir()} <= {STARTED}:
            discard(folder)
            return why
        target = self._kept(name, fingerprint_in(folder) or "unknown")
        finished = result_in(folder) is not None
        target.parent.mkdir(exist_ok=True)
        discard(target)
        folder.rename(target)
        for older in target.parent.glob(f"{name}@*"):
            if older not in (target, keep) and (result_in(older) is not None) == finished:
                discard(older)
        return f"{why}; the output before is kept in {target}"

    def _kept(self, name: str, fingerprint: str) -> Path:
        return self.folder / EARLIER / f"{name}@{fingerprint}"
