"""What a bundle's manifest says of how its student came to be."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from reranker_distill.export import scoring_of
from reranker_distill.recipe import MAIN_STUDENT, Recipe
from reranker_distill.splits import Split
from reranker_distill.stages import Stage
from reranker_distill.student_variants import TrainedVariant


def bundle_manifest(recipe: Recipe, split: Split, made: Mapping[str, Stage], variant: TrainedVariant) -> dict[str, Any]:
    """Return the manifest of a student, without calibration and metrics."""
    whole = variant.reader or variant  # what learnt from the labels: a query encoder did not
    settings, student = whole.settings, whole.student
    return {
        "name": recipe.name if variant.name == MAIN_STUDENT else f"{recipe.name}-{variant.name}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "template": recipe.template.model_dump(mode="json"),
        "max_length": settings.max_length,
        "student": {"start": settings.model, **{k: student.report[k] for k in ("layers", "width", "parameters")}, **_scoring(variant)},
        "teacher": _teacher(recipe, made),
        "training": {
            "labelled_pairs": made["labels"].report["pairs"],
            "epochs": settings.epochs,
            **({"epochs_of_bi_encoder": variant.partner.settings.epochs} if variant.partner else {}),
            "loss": settings.loss,
            "larger_share": student.report.get("larger_share", 0.0),
            "seed": recipe.seed,
        },
        "seen": {"intents": sorted({j.intent for j in split.train}), "queries": sorted({j.query for j in split.train})},
        "licences": [
            {"of": "student's start point", "name": settings.model, "licence": settings.licence},
            *([] if recipe.embedder.alone else [{"of": "teacher", "name": recipe.teacher.model, "licence": recipe.teacher_licence}]),
            *([{"of": "language model", "name": recipe.likelihood.model, "licence": recipe.likelihood_licence}] if recipe.likelihood.judges else []),
            *([{"of": "embedder", "name": recipe.embedder.model, "licence": recipe.embedder.licence}] if recipe.embedder.judges else []),
            {
                "of": "training data",
                "name": recipe.data.catalog,
                "licence": "Open Icecat; Chorus (Apache-2.0)" if recipe.data.catalog == "demo" else "your own",
            },
        ],
    }


def _scoring(variant: TrainedVariant) -> dict[str, Any]:
    if variant.reader:
        own = variant.student.report
        reads = {name: own[name] for name in ("layers", "width", "parameters", "queries", "epochs", "cosine")}
        return {**scoring_of(variant.reader.student.folder), "query_encoder": reads}
    if variant.partner is None:
        return scoring_of(variant.student.folder)
    parameters = variant.student.report["parameters"] + variant.partner.student.report["parameters"]
    return {**scoring_of(variant.partner.student.folder), "architecture": "duet", "parameters": parameters}


def _teacher(recipe: Recipe, made: Mapping[str, Stage]) -> dict[str, Any]:
    embedder: dict[str, Any] = {"embedder": recipe.embedder.model, "embedder_share": recipe.embedder.share} if recipe.embedder.judges else {}
    if recipe.embedder.judges and recipe.embedder.teacher_by_agreement:
        embedder |= {"teacher_by_agreement": True}
    if recipe.likelihood.judges:
        embedder |= {"likelihood": recipe.likelihood.model, "likelihood_weight": recipe.likelihood.weight}
    if recipe.embedder.alone:
        return {"kind": "embedder", "model": recipe.embedder.model, "judged_pairs": 0, **embedder}
    return {"kind": recipe.teacher.kind, "model": recipe.teacher.model, "judged_pairs": made["teacher"].report.get("pairs", 0), **embedder}
