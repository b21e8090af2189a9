"""The recipe: the TOML file that a distillation run is made from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import Field, field_validator, model_validator

from reranker.text import ProductTemplate
from reranker_distill.recipe.settings import (
    MAIN_STUDENT,
    Augmentation,
    Data,
    Embedder,
    Gate,
    Likelihood,
    Section,
    Student,
    StudentVariant,
    Teacher,
)

GEMMA_NOTICE = (
    "This student was trained on labels made with a Gemma model. Gemma is provided under and subject to the Gemma Terms of Use "
    "found at ai.google.dev/gemma/terms; use must respect the policy at ai.google.dev/gemma/prohibited_use_policy."
)


class Provenance(NamedTuple):
    """What a bundle says of the recipe it was made from."""

    name: str
    seed: int
    template: dict[str, Any]
    teacher: dict[str, Any]
    licences: list[dict[str, str]]
    notice: str


class Recipe(Section):
    """A whole recipe; unknown keys are refused."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    seed: int = 13
    licences: dict[str, str] = Field(default={}, description='by model, for the model card: {"org/model" = "Apache-2.0"}')
    variants: tuple[StudentVariant, ...] = ()
    template: ProductTemplate = ProductTemplate()
    data: Data = Data()
    teacher: Teacher = Teacher()
    embedder: Embedder = Embedder()
    likelihood: Likelihood = Likelihood()
    augmentation: Augmentation = Augmentation()
    student: Student = Student()
    gate: Gate = Gate()

    @field_validator("variants")
    @classmethod
    def _variant_names_differ(cls, variants: tuple[StudentVariant, ...]) -> tuple[StudentVariant, ...]:
        names = [MAIN_STUDENT, *(variant.name for variant in variants)]
        if len(set(names)) < len(names):
            raise ValueError(f'each variant needs a name of its own, other than "{MAIN_STUDENT}"')
        return variants

    @model_validator(mode="after")
    def _check_variants(self) -> Recipe:
        known: dict[str, str] = {MAIN_STUDENT: self.student.architecture}
        for variant in self.variants:
            if variant.query_encoder_of and known.get(variant.query_encoder_of) != "bi_encoder":
                raise ValueError(f"variants, {variant.name}: query_encoder_of names no bi_encoder above it")
            if variant.query_encoder_of and not variant.layers:
                raise ValueError(f"variants, {variant.name}: query_encoder_of needs layers")
            known[variant.name] = "query_encoder" if variant.query_encoder_of else variant.architecture or self.student.architecture
        return self

    @model_validator(mode="after")
    def _check_labels(self) -> Recipe:
        if self.likelihood.labels and not self.embedder.labels:
            raise ValueError("likelihood adjusts the embedder's scores: give [embedder] a model and a share above 0, or leave [likelihood] out")
        if not self.data.judgments and self.learns_from_judgments:
            raise ValueError('data.judgments = "" needs a teacher without judgments: teacher.kind = "zero_shot", or embedder.share = 1.0')
        return self

    @property
    def learns_from_judgments(self) -> bool:
        """Whether any stage is trained on human judgments; where none is, all of them are for the gate."""
        return self.teacher.kind == "fine_tuned" and not self.embedder.alone

    @property
    def uses_embedder(self) -> bool:
        """Whether the catalogue is embedded: for labels, or to find products by meaning."""
        return bool(self.embedder.model)

    @property
    def notice(self) -> str:
        """The text that a bundle must carry for the models that made its labels; empty where there is none."""
        labellers = [] if self.embedder.alone else [self.teacher.model]
        labellers += [self.likelihood.model] if self.likelihood.labels else []
        return GEMMA_NOTICE if any(_is_gemma(model) for model in labellers) else ""

    def licence_of(self, model: str) -> str:
        """Return a model's licence: as [licences] gives it, or that of the models that come as packages."""
        if model in self.licences:
            return self.licences[model]
        return "Gemma Terms of Use" if _is_gemma(model) else "Apache-2.0" if model == "all-MiniLM-L6-v2" else "see its model card"

    def student_of(self, variant: StudentVariant) -> Student:
        """Return a variant's settings: those of [student], or of the bi-encoder it reads queries for, and the variant's own."""
        own = {name: value for name, value in variant.model_dump(exclude={"name", "query_encoder_of"}).items() if value is not None}
        base = next((other for other in self.variants if other.name == variant.query_encoder_of), None)
        return (self.student_of(base) if base else self.student).model_copy(update=own)

    def students(self) -> dict[str, Student]:
        """Return the settings of all students by name, the main one first."""
        return {MAIN_STUDENT: self.student} | {variant.name: self.student_of(variant) for variant in self.variants}

    def provenance(self) -> Provenance:
        """Return what every bundle of this recipe says of it."""
        return Provenance(self.name, self.seed, self.template.model_dump(mode="json"), self._teacher_entry(), list(self._licence_entries()), self.notice)

    def _teacher_entry(self) -> dict[str, Any]:
        entry: dict[str, Any] = {"kind": self.teacher.kind, "model": self.teacher.model}
        if self.embedder.alone:
            entry = {"kind": "embedder", "model": self.embedder.model}
        if self.embedder.labels:
            entry |= {"embedder": self.embedder.model, "embedder_share": self.embedder.share}
            entry |= {"teacher_by_agreement": True} if self.embedder.teacher_by_agreement else {}
        if self.likelihood.labels:
            entry |= {"likelihood": self.likelihood.model, "likelihood_weight": self.likelihood.weight}
        return entry

    def _licence_entries(self) -> Iterator[dict[str, str]]:
        models = [("student's start point", self.student.model)]
        models += [] if self.embedder.alone else [("teacher", self.teacher.model)]
        models += [("language model", self.likelihood.model)] if self.likelihood.labels else []
        models += [("embedder", self.embedder.model)] if self.embedder.labels else []
        for role, model in models:
            yield {"of": role, "name": model, "licence": self.licence_of(model)}
        data_licence = "Open Icecat; Chorus (Apache-2.0)" if self.data.catalog == "demo" else "your own"
        yield {"of": "training data", "name": self.data.catalog, "licence": data_licence}


def _is_gemma(model: str) -> bool:
    return "gemma" in model.lower()
