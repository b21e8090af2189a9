"""The manifest of a bundle: how its student was made."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from reranker_distill.export import scoring_of
from reranker_distill.gate.trained_variant import TrainedVariant
from reranker_distill.recipe import MAIN_STUDENT, Provenance
from reranker_distill.splits import Split

_QUERY_ENCODER_KEYS = ("layers", "width", "parameters", "queries", "epochs", "cosine")


def bundle_manifest(variant: TrainedVariant, provenance: Provenance, split: Split, *, labelled_pairs: int, judged_pairs: int) -> dict[str, Any]:
    """Return the manifest of a student, without calibration and metrics.

    Args:
        labelled_pairs: how many pairs the students learnt from; ``judged_pairs``: how many the teacher did.
    """
    encoder = variant.products or variant  # what learnt from the labels: a query encoder did not
    settings, student = encoder.settings, encoder.student
    scoring = scoring_of(student.folder)
    if variant.products:
        scoring["query_encoder"] = {name: variant.student.report[name] for name in _QUERY_ENCODER_KEYS}
    return {
        "name": provenance.name if variant.name == MAIN_STUDENT else f"{provenance.name}-{variant.name}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "template": provenance.template,
        "max_length": settings.max_length,
        "student": {"start": settings.model, **{key: student.report[key] for key in ("layers", "width", "parameters")}, **scoring},
        "teacher": {**provenance.teacher, "judged_pairs": judged_pairs},
        "training": {"labelled_pairs": labelled_pairs, "epochs": settings.epochs, "loss": settings.loss, "seed": provenance.seed},
        "seen": {"intents": sorted({j.intent for j in split.train}), "queries": sorted({j.query for j in split.train})},
        "licences": provenance.licences,
    }
