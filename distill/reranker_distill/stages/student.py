"""The stages that train a student: on the labels, or as a query encoder of a bi-encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reranker_distill.checkpoints import files_of, resolve_checkpoint
from reranker_distill.pairs import labelled_in
from reranker_distill.recipe import MAIN_STUDENT, Student
from reranker_distill.stages.stage import STUDENT, Stage, Workspace


def stage_name(base: str, student: str) -> str:
    """Return a stage's name for one of the students."""
    return base if student == MAIN_STUDENT else f"{base}-{student}"


class StudentStage(Stage):
    """Trains a student on the labels of ``labels``, the last stage that labels."""

    def __init__(self, workspace: Workspace, student: str, settings: Student, labels: Stage) -> None:
        self.name = stage_name(STUDENT, student)
        self._workspace, self._settings, self._labels = workspace, settings, labels

    def reads(self) -> Mapping[str, Any]:
        return {
            "labels": self._labels.result.fingerprint,
            "template": self._workspace.template.model_dump(),
            "seed": self._workspace.seed,
            "student": self._settings.model_dump(),
            **files_of(self._settings.model),
        }

    def run(self, folder: Path) -> dict[str, Any]:
        from reranker_distill.student.training import train_student

        workspace, settings = self._workspace, self._settings
        return train_student(
            labelled_in(self._labels.result.folder),
            workspace.products,
            checkpoint=resolve_checkpoint(settings.model, workspace.models),
            settings=settings,
            template=workspace.template,
            seed=workspace.seed,
            folder=folder,
        )


class QueryEncoderStage(Stage):
    """Trains a smaller query encoder to give a bi-encoder's vectors of ``queries``, a function that is called when the stage runs."""

    def __init__(self, workspace: Workspace, student: str, settings: Student, bi_encoder: Stage, queries: Callable[[], Sequence[str]]) -> None:
        self.name = stage_name(STUDENT, student)
        self._workspace, self._settings, self._bi_encoder, self._queries = workspace, settings, bi_encoder, queries

    def reads(self) -> Mapping[str, Any]:
        settings = self._settings.model_dump()
        return {"bi_encoder": self._bi_encoder.result.fingerprint, "student": settings, "seed": self._workspace.seed}

    def run(self, folder: Path) -> dict[str, Any]:
        from reranker_distill.student.query_encoder import train_query_encoder

        return train_query_encoder(
            self._queries(), bi_encoder=self._bi_encoder.result.folder, settings=self._settings, seed=self._workspace.seed, folder=folder
        )
