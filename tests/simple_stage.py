"""A stage of a few lines, for tests of the runner."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from reranker_distill.stages import Stage


class SimpleStage(Stage):
    """Reads what it is given, and does its work by a function of its folder."""

    def __init__(self, name: str, reads: Mapping[str, Any], work: Callable[[Path], dict[str, Any]], *, shareable: bool = False) -> None:
        self.name, self.shareable = name, shareable
        self._reads, self._work = reads, work

    def reads(self) -> Mapping[str, Any]:
        return self._reads

    def run(self, folder: Path) -> dict[str, Any]:
        return self._work(folder)
