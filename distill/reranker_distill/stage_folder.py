"""A stage's folder on disk: which inputs it was begun with, and what it reported once it was finished."""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from reranker.folders import whole_file

STARTED = "started.json"
FINISHED = "stage.json"

EARLIER = "earlier"
"""The folder of a run for outputs of stages that have run with other inputs since, as ``STAGE@FINGERPRINT``."""


class StageResult(NamedTuple):
    """A finished stage: its folder, the fingerprint of its inputs, its report, and how long it took.

    ``build`` identifies this output and its copies: a training with the same inputs ends slightly differently each time.
    """

    folder: Path
    fingerprint: str
    report: dict[str, Any]
    seconds: float
    build: str
    reused: bool = True


def fingerprint_of(reads: Mapping[str, Any]) -> str:
    """Return a short hash of a stage's inputs."""
    return hashlib.sha256(json.dumps(reads, sort_keys=True, default=str).encode()).hexdigest()[:16]


def mark_started(folder: Path, reads: Mapping[str, Any]) -> None:
    """Record the inputs that a stage begins with."""
    write_json(folder / STARTED, {"fingerprint": fingerprint_of(reads), "reads": part_fingerprints(reads)})


def mark_finished(result: StageResult) -> None:
    """Record a finished stage in its folder."""
    entry = {"fingerprint": result.fingerprint, "seconds": result.seconds, "report": result.report, "build": result.build}
    write_json(result.folder / FINISHED, entry)


def new_build() -> str:
    return uuid.uuid4().hex


def result_in(folder: Path) -> StageResult | None:
    """Return the finished stage in a folder, or None."""
    entry = read_json(folder / FINISHED)
    return StageResult(folder, entry["fingerprint"], entry["report"], entry["seconds"], entry["build"]) if entry else None


def fingerprint_in(folder: Path) -> str | None:
    """Return the fingerprint of the stage that was finished or begun in a folder, or None."""
    entry = read_json(folder / FINISHED) or read_json(folder / STARTED) or {}
    return entry.get("fingerprint")


def part_fingerprints(reads: Mapping[str, Any]) -> dict[str, str]:
    """Return a fingerprint of each input, to find out which one changed."""
    return {name: fingerprint_of({name: value}) for name, value in reads.items()}


def parts_in(folder: Path) -> dict[str, str]:
    """Return the fingerprints of the inputs of the stage in a folder; empty where none was begun."""
    return (read_json(folder / STARTED) or {}).get("reads") or {}


def similar_outputs(runs: Sequence[Path], name: str, reads: Mapping[str, Any], *, ignore: Collection[str]) -> list[Path]:
    """Return the folders of a stage, finished or not, in those runs or set aside there, whose inputs are the same but for those ``ignore`` names."""

    def compared(parts: Mapping[str, str]) -> dict[str, str]:
        return {part: value for part, value in parts.items() if part not in ignore}

    wanted = compared(part_fingerprints(reads))
    folders = [folder for run in runs for folder in (*sorted((run / EARLIER).glob(f"{name}@*")), run / name)]
    return [folder for folder in folders if compared(parts_in(folder)) == wanted]


def discard(folder: Path) -> None:
    """Remove a folder; if this is interrupted, what is left does not count as a stage."""
    if not folder.exists():
        return
    for name in (FINISHED, STARTED):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file; None where there is none, or it cannot be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object, whole or not at all."""
    with whole_file(path) as staging:
        staging.write_text(json.dumps(value, indent=2, default=str, ensure_ascii=False) + "\n", encoding="utf-8")
