"""The students that the gate measures: a bundle for each precision of each variant, calibrated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reranker.bundle import MODEL, QUERIES, Bundle, write_bundle
from reranker.products import Product
from reranker.reranker import Reranker
from reranker_distill.calibration import calibrate
from reranker_distill.export import PRECISIONS, model_file
from reranker_distill.gate.manifest import bundle_manifest
from reranker_distill.gate.model_card import CARD, model_card
from reranker_distill.pairs import LabelledPair
from reranker_distill.recipe import Recipe
from reranker_distill.splits import Split
from reranker_distill.stages import Stage
from reranker_distill.student_variants import TrainedVariant

CALIBRATION_PAIRS = 2_000


class LoadedVariant(NamedTuple):
    """A variant ready to be measured, in each of the ``students``' precisions; it is served in ``precision``.

    On labelled pairs, ``agreements`` are its rank correlations with what it learnt, ``fp32_agreements`` with its fp32 form.
    ``read_with`` is the variant that reads the products for it, if another does: the two share stored vectors.
    """

    name: str
    precision: str
    students: dict[str, Reranker]
    manifest: dict[str, Any]
    files: dict[str, dict[str, Path]]
    agreements: dict[str, float]
    fp32_agreements: dict[str, float]
    read_with: str | None

    @property
    def chosen(self) -> Reranker:
        return self.students[self.precision]

    @property
    def agreement(self) -> float:
        return self.agreements[self.precision]

    @property
    def fp32_agreement(self) -> float:
        return self.fp32_agreements[self.precision]

    @property
    def megabytes(self) -> float:
        return sum(entry.bytes for entry in self.chosen.bundle.manifest.files.values()) / 1e6


def load_variant(
    variant: TrainedVariant,
    recipe: Recipe,
    split: Split,
    made: Mapping[str, Stage],
    labelled: Sequence[LabelledPair],
    products: Mapping[str, Product],
    folder: Path,
) -> LoadedVariant:
    """Write the variant's bundles below ``folder``, calibrated on labelled pairs, and load them."""
    sample = [labelled[i] for i in np.random.default_rng(recipe.seed).permutation(len(labelled))[:CALIBRATION_PAIRS]]
    texts = [(pair.query, recipe.template.render(products[pair.product_id])) for pair in sample]
    relevance = np.array([pair.relevance for pair in sample])
    manifest = bundle_manifest(recipe, split, made, variant)
    files = {"tokenizer.json": variant.student.folder / "tokenizer.json"}
    if recipe.notice:
        files["NOTICE"] = folder / "NOTICE"
        files["NOTICE"].write_text(recipe.notice + "\n", encoding="utf-8")
    bundled = {precision: {**_models(variant, precision), **files} for precision in PRECISIONS}
    bundled = {precision: own for precision, own in bundled.items() if all(path.is_file() for path in own.values())}
    students, scored = {}, {}
    for precision, own in bundled.items():
        at = folder / f"{variant.name}_{precision}"
        scored[precision] = Reranker(write_bundle(at, own, manifest)).logits(texts)
        students[precision] = Reranker(write_bundle(at, own, {**manifest, "calibration": calibrate(scored[precision], relevance).model_dump()}))
    with_fp32 = {precision: round(_rank_correlation(logits, scored["fp32"]), 6) for precision, logits in scored.items()}
    agreements = {precision: round(_rank_correlation(logits, relevance), 4) for precision, logits in scored.items()}
    reads_products = variant.reader or variant.partner
    return LoadedVariant(
        variant.name, _precision(variant), students, manifest, bundled, agreements, with_fp32 | {"fp32": 1.0}, reads_products.name if reads_products else None
    )


def pass_over(variants: Sequence[LoadedVariant], ndcg: Mapping[str, float], max_loss: float) -> list[LoadedVariant]:
    """Return the variants, each in the fastest precision that loses at most ``max_loss`` to its fp32 form, from its export's choice on.

    A precision that was not measured is passed over too: other runs, whose figures count where nothing is held out, may have made none.
    A variant whose products another reads is at least as faithful as that one, so that they go on sharing vectors.

    Args:
        ndcg: mean nDCG@10 by ranking, ``<variant>_<precision>``.
    """
    settled: dict[str, LoadedVariant] = {}
    for variant in variants:
        least = [variant.precision] + ([settled[variant.read_with].precision] if variant.read_with in settled else [])
        first = max(PRECISIONS.index(precision) for precision in least)
        worst = ndcg[f"{variant.name}_fp32"] - max_loss
        settled[variant.name] = variant._replace(precision=next(p for p in PRECISIONS[first:] if ndcg.get(f"{variant.name}_{p}", -1.0) >= worst))
    return list(settled.values())


def _models(variant: TrainedVariant, precision: str) -> dict[str, Path]:
    """Return the model files of a variant's bundle by their names there."""
    if variant.reader:
        return {MODEL: model_file(variant.reader.export.folder, precision), QUERIES: model_file(variant.export.folder, precision)}
    return {MODEL: model_file(variant.export.folder, precision)}


def _precision(variant: TrainedVariant) -> str:
    """Return the precision that the export chose; of two models, the more faithful."""
    chosen = [export.report["precision"] for export in variant.exports]
    return max(chosen, key=PRECISIONS.index)


def write_final(variant: LoadedVariant, target: Path, metrics: Mapping[str, Any]) -> Bundle:
    """Write the variant's bundle with what the gate measured, and its model card."""
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
