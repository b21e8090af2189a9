"""The students that the gate measures: a calibrated bundle for each precision of each one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reranker.bundle import MODEL, QUERIES, Bundle, Calibration, write_bundle
from reranker.reranker import Reranker
from reranker_distill.export import PRECISIONS, model_file, scoring_of
from reranker_distill.gate.model_card import CARD, model_card
from reranker_distill.recipe import MAIN_STUDENT, Provenance, Student
from reranker_distill.splits import Split

if TYPE_CHECKING:
    from reranker_distill.stages.stage import Stage

_QUERY_ENCODER_KEYS = ("layers", "width", "parameters", "queries", "epochs", "cosine")


class Variant(NamedTuple):
    """A student's settings and stages; ``products`` is the bi-encoder that encodes products for a query encoder."""

    name: str
    settings: Student
    student: Stage
    export: Stage
    products: Variant | None = None

    @property
    def precision(self) -> str:
        """The precision that the export chose; of two models, the more faithful."""
        exports = [self.export, *([self.products.export] if self.products else [])]
        return max((export.result.report["precision"] for export in exports), key=PRECISIONS.index)

    def models(self, precision: str) -> dict[str, Path]:
        """Return the model files of its bundle in a precision, by their names there."""
        own = model_file(self.export.result.folder, precision)
        return {MODEL: model_file(self.products.export.result.folder, precision), QUERIES: own} if self.products else {MODEL: own}


class LoadedVariant(NamedTuple):
    """A student ready to be measured, in each of the ``students``' precisions; it is served in ``precision``.

    On labelled pairs, ``agreements`` are its rank correlations with the labels, ``fp32_agreements`` with its fp32 form.
    ``products`` is the variant that encodes products for it, if another does: the two share stored vectors.
    """

    name: str
    precision: str
    students: dict[str, Reranker]
    manifest: dict[str, Any]
    files: dict[str, dict[str, Path]]
    agreements: dict[str, float]
    fp32_agreements: dict[str, float]
    products: str | None

    @property
    def chosen(self) -> Reranker:
        return self.students[self.precision]

    @property
    def fp32_agreement(self) -> float:
        return self.fp32_agreements[self.precision]

    @property
    def megabytes(self) -> float:
        return sum(entry.bytes for entry in self.chosen.bundle.manifest.files.values()) / 1e6


def bundle_manifest(variant: Variant, provenance: Provenance, split: Split, *, labelled_pairs: int, judged_pairs: int) -> dict[str, Any]:
    """Return the manifest of a student, without calibration and metrics.

    Args:
        labelled_pairs: how many pairs the students learnt from; ``judged_pairs``: how many the teacher did.
    """
    encoder = variant.products or variant  # what learnt from the labels: a query encoder did not
    settings, student = encoder.settings, encoder.student.result
    scoring = scoring_of(student.folder)
    if variant.products:
        scoring["query_encoder"] = {name: variant.student.result.report[name] for name in _QUERY_ENCODER_KEYS}
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


def calibrate(logits: np.ndarray, relevance: np.ndarray) -> Calibration:
    """Fit sigmoid(scale · logit + bias) to the teacher's relevance by cross-entropy; never reverses the order.

    Args:
        logits: the student's scores, float (n,).
        relevance: the teacher's relevance of the same pairs, 0–1, (n,).
    """
    from sklearn.linear_model import LogisticRegression

    # A soft label is two weighted hard ones: relevant with weight r, irrelevant with 1 − r.
    features = np.concatenate([logits, logits]).reshape(-1, 1)
    labels = np.concatenate([np.ones(len(logits)), np.zeros(len(logits))])
    fit = LogisticRegression(C=1e3).fit(features, labels, sample_weight=np.concatenate([relevance, 1 - relevance]))
    return Calibration(scale=max(round(float(fit.coef_[0, 0]), 5), 1e-3), bias=round(float(fit.intercept_[0]), 5))


def load_variant(
    variant: Variant, manifest: dict[str, Any], notice: str, texts: Sequence[tuple[str, str]], relevance: np.ndarray, folder: Path
) -> LoadedVariant:
    """Write a student's bundles below ``folder`` and load them.

    Args:
        notice: text for the bundle's NOTICE; empty: none.
        texts: labelled (query, product text) pairs to calibrate on; ``relevance`` are their labels, (n,).
    """
    files = {"tokenizer.json": variant.student.result.folder / "tokenizer.json"}
    if notice:
        files["NOTICE"] = folder / "NOTICE"
        files["NOTICE"].write_text(notice + "\n", encoding="utf-8")
    by_precision = {precision: {**variant.models(precision), **files} for precision in PRECISIONS}
    by_precision = {precision: own for precision, own in by_precision.items() if all(path.is_file() for path in own.values())}
    students, scores = {}, {}
    for precision, own in by_precision.items():
        target = folder / f"{variant.name}_{precision}"
        scores[precision] = Reranker(write_bundle(target, own, manifest)).logits(texts)
        students[precision] = Reranker(write_bundle(target, own, {**manifest, "calibration": calibrate(scores[precision], relevance).model_dump()}))
    with_fp32 = {precision: round(_rank_correlation(logits, scores["fp32"]), 6) for precision, logits in scores.items()} | {"fp32": 1.0}
    with_labels = {precision: round(_rank_correlation(logits, relevance), 4) for precision, logits in scores.items()}
    products = variant.products.name if variant.products else None
    return LoadedVariant(variant.name, variant.precision, students, manifest, by_precision, with_labels, with_fp32, products)


def choose_precisions(variants: Sequence[LoadedVariant], ndcg: Mapping[str, float], max_loss: float) -> list[LoadedVariant]:
    """Return the variants, each in the fastest precision that loses at most ``max_loss`` to its fp32 form, from its export's choice on.

    A query encoder is at least as faithful as the bi-encoder it belongs to, so that the two share vectors.

    Args:
        ndcg: mean nDCG@10 by ranking, ``<variant>_<precision>``.
    """
    chosen: dict[str, LoadedVariant] = {}
    for variant in variants:
        fastest = [variant.precision] + ([chosen[variant.products].precision] if variant.products in chosen else [])
        first = max(PRECISIONS.index(precision) for precision in fastest)
        least = ndcg[f"{variant.name}_fp32"] - max_loss
        chosen[variant.name] = variant._replace(precision=next(p for p in PRECISIONS[first:] if ndcg.get(f"{variant.name}_{p}", -1.0) >= least))
    return list(chosen.values())


def write_final_bundle(variant: LoadedVariant, target: Path, metrics: Mapping[str, Any]) -> Bundle:
    """Write the student's bundle with what the gate measured, and its model card."""
    manifest = {**variant.manifest, "calibration": variant.chosen.bundle.manifest.calibration.model_dump(), "metrics": dict(metrics)}
    card = target.parent / f"{variant.name}.md"
    card.parent.mkdir(parents=True, exist_ok=True)
    card.write_text(model_card(manifest), encoding="utf-8")
    try:
        return write_bundle(target, {**variant.files[variant.precision], CARD: card}, manifest)
    finally:
        card.unlink()


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    from scipy.stats import spearmanr

    return float(np.nan_to_num(spearmanr(a, b).statistic))
