"""The variants: students of several sizes, the largest first; each is trained and exported in stages of its own."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from reranker.products import Product
from reranker_distill.checkpoints import files_of, resolve_checkpoint
from reranker_distill.pairs import labelled_in
from reranker_distill.recipe import MAIN_STUDENT, Recipe, Student
from reranker_distill.stages import Stage, Stages

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Takes what is done and how many there are; gives a function that is told the number done since."""


class TrainedVariant(NamedTuple):
    """A variant after its two stages; ``settings`` is what it was trained by.

    A duet is its cross-encoder with a ``partner``, its bi-encoder. A query encoder has in ``reader`` the bi-encoder that reads
    products for it.
    """

    name: str
    settings: Student
    student: Stage
    export: Stage
    partner: TrainedVariant | None = None
    reader: TrainedVariant | None = None

    @property
    def exports(self) -> list[Stage]:
        """The stages whose models make up its bundle."""
        return [made.export for made in (self, self.partner, self.reader) if made]


def train_variants(
    recipe: Recipe, stages: Stages, labels: Stage, products: dict[str, Product], models: Path, progress: Progress, queries: Callable[[], Sequence[str]]
) -> list[TrainedVariant]:
    """Train and export the student, and after it each variant of the variants, which learns from its scores too.

    ``queries`` gives what a query encoder learns from; it is called where there is one.
    """

    def learn(name: str, settings: Student, reads: dict[str, Any], scores: Stage | None, share: float) -> TrainedVariant:
        suffix = "" if name == MAIN_STUDENT else f"-{name}"
        common = {"labels": labels.fingerprint, "template": recipe.template.model_dump(), "seed": recipe.seed, **files_of(settings.model)}
        student = stages.run(
            f"4-student{suffix}",
            {**common, "student": settings.model_dump(exclude={"licence"}), **reads},
            lambda at: _learn(recipe, settings, labels, products, models, at, scores=scores, share=share),
        )
        export = stages.run(
            f"5-export{suffix}",
            {"student": student.fingerprint, "export": recipe.export.model_dump()},
            lambda at: _export(recipe, settings, student, labels, products, at),
        )
        return TrainedVariant(name, settings, student, export)

    def learn_queries(name: str, settings: Student, reader: TrainedVariant) -> TrainedVariant:
        reads = {"of": reader.student.fingerprint, "student": settings.model_dump(exclude={"licence"}), "seed": recipe.seed}
        student = stages.run(f"4-student-{name}", reads, lambda at: _align(recipe, settings, reader.student, queries(), at))
        export = stages.run(
            f"5-export-{name}",
            {"student": student.fingerprint, "products": reader.export.fingerprint, "export": recipe.export.model_dump()},
            lambda at: _export(recipe, settings, student, labels, products, at, reader=reader.export),
        )
        return TrainedVariant(name, settings, student, export, reader=reader)

    variants = [learn(MAIN_STUDENT, recipe.student, {}, None, 0.0)]
    if any(variant.larger_share and variant.learns_from_labels for variant in recipe.variants):
        top = variants[0].student
        scores = stages.run("4-student-scores", {"student": top.fingerprint}, lambda at: _score(recipe, top, labels, products, at, progress))
    for variant in recipe.variants:
        if variant.duet:
            cross, bi = (next(made for made in variants if made.name == name) for name in variant.duet)
            variants.append(cross._replace(name=variant.name, partner=bi))
            continue
        if variant.query_encoder_of:
            variants.append(learn_queries(variant.name, recipe.student_of(variant), next(made for made in variants if made.name == variant.query_encoder_of)))
            continue
        reads = {"larger": scores.fingerprint, "larger_share": variant.larger_share} if variant.larger_share else {}
        variants.append(learn(variant.name, recipe.student_of(variant), reads, scores if variant.larger_share else None, variant.larger_share))
    return variants


def _learn(
    recipe: Recipe,
    settings: Student,
    labels: Stage,
    products: dict[str, Product],
    models: Path,
    at: Path,
    *,
    scores: Stage | None,
    share: float,
) -> dict[str, Any]:
    from reranker_distill.student.training import mixed_relevance, read_scores, train_student

    labelled = labelled_in(labels.folder)
    checkpoint = resolve_checkpoint(settings.model, models)
    relevance = None if scores is None else mixed_relevance(labelled, read_scores(scores.folder), share)
    report = train_student(
        labelled, products, checkpoint=checkpoint, settings=settings, template=recipe.template, seed=recipe.seed, folder=at, relevance=relevance
    )
    return report if scores is None else {**report, "larger_share": share}


def _align(recipe: Recipe, settings: Student, bi_encoder: Stage, queries: Sequence[str], at: Path) -> dict[str, Any]:
    from reranker_distill.student.query_encoder import train_query_encoder

    return train_query_encoder(queries, bi_encoder=bi_encoder.folder, settings=settings, seed=recipe.seed, folder=at)


def _score(recipe: Recipe, student: Stage, labels: Stage, products: dict[str, Product], at: Path, progress: Progress) -> dict[str, Any]:
    from reranker_distill.student.training import score_pairs

    labelled = labelled_in(labels.folder)
    with progress("scoring pairs for the variants", len(labelled)) as advance:
        score_pairs(student.folder, labelled, products, template=recipe.template, folder=at, on_pairs=advance)
    return {"pairs": len(labelled)}


def _export(
    recipe: Recipe, settings: Student, student: Stage, labels: Stage, products: dict[str, Product], at: Path, *, reader: Stage | None = None
) -> dict[str, Any]:
    from reranker_distill.export import export_student, model_file

    labelled = labelled_in(labels.folder)
    sample = random.Random(recipe.seed).sample(labelled, min(recipe.export.calibration_pairs, len(labelled)))
    pairs = [(pair.query, recipe.template.render(products[pair.product_id])) for pair in sample]
    reads_products = model_file(reader.folder, "fp32") if reader else None
    return export_student(student.folder, at, settings=recipe.export, pairs=pairs, max_length=settings.max_length, reads_products=reads_products)


def stages_of(variants: list[TrainedVariant]) -> dict[str, Stage]:
    """Return the variants' stages under the names that the report gives them: student, export, student-NAME, export-NAME."""
    return {stage.folder.name.partition("-")[2]: stage for variant in variants for stage in (variant.student, variant.export)}
