"""What a stage is, and the names of all stages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from reranker.products import Product
from reranker.progress import progress
from reranker.text import ProductTemplate
from reranker_distill.stage_folder import StageResult

TEACHER = "1-teacher"
VECTORS = "2-vectors"
PAIRS = "2-pairs"
LABELS = "3-labels"
LIKELIHOOD = "3-likelihood"
FUSION = "3-fusion"
STUDENT = "4-student"
EXPORT = "5-export"
GATE = "6-gate"

MODELS = "pretrained"
"""The folder of a run for unpacked checkpoints."""


class Stage(ABC):
    """A step of a run that reads settings, files and outputs of earlier stages, and writes one folder.

    The runner runs a stage only if what it ``reads`` has changed, and sets ``result`` once it is finished. A stage gets the
    stages it depends on in its constructor, and reads their results when it runs.
    """

    name: str
    """Its folder in the run's folder."""

    shareable = False
    """Whether the output of another run with the same inputs is as good."""

    _result: StageResult | None = None

    @property
    def result(self) -> StageResult:
        """What the stage left; only once it is finished."""
        if self._result is None:
            raise RuntimeError(f"The stage {self.name} has not run.")
        return self._result

    @result.setter
    def result(self, result: StageResult) -> None:
        self._result = result

    @property
    def report_name(self) -> str:
        """Its name in the run's report."""
        return self.name.partition("-")[2]

    @abstractmethod
    def reads(self) -> Mapping[str, Any]:
        """Return everything the output depends on, as JSON: settings, fingerprints of earlier stages, hashes of files."""

    @abstractmethod
    def run(self, folder: Path) -> dict[str, Any]:
        """Do the work in ``folder``, where an interrupted run may have left a part of it, and return the stage's report."""

    def on_reused(self) -> None:
        """Called instead of ``run`` where the output is reused."""
        return


@dataclass(frozen=True)
class Workspace:
    """What stages share: the run's folder, the catalogue, how products become text, and the console.

    ``catalogue`` identifies the catalogue and ``data`` all files, settings of [data] and seed, as inputs of stages.
    """

    folder: Path
    products: dict[str, Product]
    template: ProductTemplate
    seed: int
    catalogue: Mapping[str, Any]
    data: Mapping[str, Any]
    console: Console

    @property
    def models(self) -> Path:
        return self.folder / MODELS

    def progress(self, what: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Show a progress bar; the context gives a function to call with the number done since."""
        return progress(what, total, self.console)

    def say(self, text: str) -> None:
        self.console.print(text)
