"""The stage that makes the teacher: fine-tuned on the judgments, or set up zero-shot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reranker.judgments import Judgment
from reranker_distill.checkpoints import files_of, resolve_checkpoint
from reranker_distill.distributed import DistributedContext
from reranker_distill.recipe import Teacher
from reranker_distill.stages.stage import TEACHER, Stage, Workspace


class TeacherStage(Stage):
    """Makes the teacher; all processes of the run train it together, and only the main one continues after it."""

    name = TEACHER
    shareable = True

    def __init__(self, workspace: Workspace, settings: Teacher, train: list[Judgment], distributed: DistributedContext) -> None:
        self._workspace, self._settings, self._train, self._distributed = workspace, settings, train, distributed
        self._trains = settings.kind == "fine_tuned"

    def reads(self) -> Mapping[str, Any]:
        data = {key: value for key, value in self._workspace.data["data"].items() if key != "query_log"}
        inputs = {**self._workspace.data, "data": data} if self._trains else self._workspace.catalogue
        return {**inputs, "teacher": self._settings.model_dump(), **files_of(self._settings.model)}

    def run(self, folder: Path) -> dict[str, Any]:
        if self._trains:
            resolve_checkpoint(self._settings.model, self._workspace.models)
            self._distributed.broadcast(True)  # the workers may begin: folder and checkpoint are there
        report = self._make(folder)
        self._distributed.detach()
        return report

    def on_reused(self) -> None:
        if self._trains:
            self._distributed.broadcast(False)
        self._distributed.detach()

    def run_as_worker(self) -> None:
        """Train with the main process, where it trains a teacher."""
        if self._trains and self._distributed.broadcast(None):
            self._make(self._workspace.folder / TEACHER)

    def _make(self, folder: Path) -> dict[str, Any]:
        workspace, settings = self._workspace, self._settings
        if not self._trains:
            from reranker_distill.teacher.zero_shot import prepare_zero_shot

            return prepare_zero_shot(workspace.products, settings, workspace.template, folder)
        from reranker_distill.teacher.fine_tuned import fine_tune

        checkpoint = resolve_checkpoint(settings.model, workspace.models)
        return fine_tune(
            self._train, workspace.products, checkpoint=checkpoint, settings=settings, template=workspace.template, seed=workspace.seed, folder=folder
        )
