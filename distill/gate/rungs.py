"""The students that the gate measures: a bundle for each precision of each rung, calibrated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from distill.calibration import calibrate
from distill.export import PRECISIONS, model_file
from distill.gate.manifest import bundle_manifest
from distill.gate.model_card import CARD, model_card
from distill.ladder import MadeRung
from distill.pairs import LabelledPair
from distill.recipe import Recipe
from distill.splits import Split
from distill.stages import Stage
from reranker.bundle import MODEL, QUERIES, VECTORS, Bundle, write_bundle
from reranker.products import Product
from reranker.student import Reranker

CALIBRATION_PAIRS = 2_000


class LoadedRung(NamedTuple):
    """A rung ready to be measured; on labelled pairs, ``agreement`` is its rank correlation with what it learnt, ``fp32_agreement`` with its fp32 form."""

    name: str
    precision: str
    students: dict[str, Reranker]
    manifest: dict[str, Any]
    files: dict[str, Path]
    agreement: float
    fp32_agreement: float

    @property
    def chosen(self) -> Reranker:
        return self.students[self.precision]

    @property
    def megabytes(self) -> float:
        return sum(entry.bytes for entry in self.chosen.bundle.manifest.files.values()) / 1e6


def load_rung(
    rung: MadeRung,
    recipe: Recipe,
    split: Split,
    made: Mapping[str, Stage],
    labelled: Sequence[LabelledPair],
    products: Mapping[str, Product],
    folder: Path,
) -> LoadedRung:
    """Write the rung's bundles below ``folder``, calibrated on labelled pairs, and load them."""
    sample = [labelled[i] for i in np.random.default_rng(recipe.seed).permutation(len(labelled))[:CALIBRATION_PAIRS]]
    texts = [(pair.query, recipe.template.render(products[pair.product_id])) for pair in sample]
    relevance = np.array([pair.relevance for pair in sample])
    manifest = bundle_manifest(recipe, split, made, rung)
    files = {"tokenizer.json": rung.student.folder / "tokenizer.json"}
    if recipe.notice:
        files["NOTICE"] = folder / "NOTICE"
        files["NOTICE"].write_text(recipe.notice + "\n", encoding="utf-8")
    students, agreement, scored = {}, {}, {}
    for precision in PRECISIONS:
        models = _models(rung, precision)
        if all(model.is_file() for model in models.values()):
            at, own = folder / f"{rung.name}_{precision}", {**models, **files}
            logits = Reranker(write_bundle(at, own, manifest)).logits(texts)
            students[precision] = Reranker(write_bundle(at, own, {**manifest, "calibration": calibrate(logits, relevance).model_dump()}))
            agreement[precision] = _rank_correlation(logits, relevance)
            scored[precision] = logits
    chosen = _precision(rung)
    with_fp32 = 1.0 if chosen == "fp32" else _rank_correlation(scored[chosen], scored["fp32"])
    return LoadedRung(rung.name, chosen, students, manifest, {**_models(rung, chosen), **files}, round(agreement[chosen], 4), round(with_fp32, 6))


def _models(rung: MadeRung, precision: str) -> dict[str, Path]:
    """Return the model files of a rung's bundle by their names there."""
    if rung.reader:
        return {MODEL: model_file(rung.reader.export.folder, precision), QUERIES: model_file(rung.export.folder, precision)}
    models = {MODEL: model_file(rung.export.folder, precision)}
    return models | ({VECTORS: model_file(rung.partner.export.folder, precision)} if rung.partner else {})


def _precision(rung: MadeRung) -> str:
    """Return the precision that the export chose; of two models, the more faithful."""
    chosen = [export.report["precision"] for export in rung.exports]
    return max(chosen, key=PRECISIONS.index)


def write_final(rung: LoadedRung, target: Path, metrics: Mapping[str, Any]) -> Bundle:
    """Write the rung's bundle with what the gate measured, and its model card."""
    manifest = {**rung.manifest, "calibration": rung.chosen.bundle.manifest.calibration.model_dump(), "metrics": dict(metrics)}
    card = target.parent / f"{rung.name}.md"
    card.parent.mkdir(parents=True, exist_ok=True)
    card.write_text(model_card(manifest), encoding="utf-8")
    try:
        return write_bundle(target, {**rung.files, CARD: card}, manifest)
    finally:
        card.unlink()


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    from scipy.stats import spearmanr

    return float(np.nan_to_num(spearmanr(a, b).statistic))
