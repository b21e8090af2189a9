"""Export: the trained student as ONNX, its graph optimised, stored in the fastest precision that keeps its order."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reranker.bundle import MODEL, QUERIES, TOKENIZER, write_bundle
from reranker.reranker import Reranker
from reranker_distill.quantisation import inner_nodes, quantise, store_weights_in_int8
from reranker_distill.recipe import Export
from reranker_distill.student.bi_encoder import is_bi_encoder, scale_of

PRECISIONS = ("int8", "int8_weights", "fp32")
"""From the fastest to the most faithful: integer arithmetic, float arithmetic with weights stored in int8, floats throughout."""

MOST_LEFT_IN_FP32 = 0.5
"""Share of the layers; with more left in fp32, integer arithmetic saves too little to be worth it."""


def export_student(
    student: Path, folder: Path, *, settings: Export, pairs: Sequence[tuple[str, str]], max_length: int, reads_products: Path | None = None
) -> dict[str, Any]:
    """Export a trained student into ``folder`` and choose its precision, a key of ``PRECISIONS``; only fp32 without ``settings.int8``.

    fp32: optimum's export and transformer-specific graph fusions (its level O2). int8_weights: as small as int8, as slow
    as fp32, and nearly its scores. int8: ONNX Runtime's dynamic quantisation, with the layers that harm the order of the
    scores most left in fp32; not made where that would be more than half of them.

    Args:
        pairs: (query, product text) that the agreement with fp32 is measured on; none of a held-out intent.
        reads_products: the model that reads products, where the student is a query encoder.

    Returns:
        What the report says: ``precision``, the chosen one; ``agreement``, by precision; ``left_in_fp32``; sizes.
    """
    from optimum.onnxruntime import ORTOptimizer
    from optimum.onnxruntime.configuration import OptimizationConfig

    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    _to_onnx(student, work / "export")
    optimizer = ORTOptimizer.from_pretrained(work / "export")
    optimizer.optimize(save_dir=work / "optimised", optimization_config=OptimizationConfig(optimization_level=2))
    fp32 = next((work / "optimised").glob("*.onnx")).rename(model_file(folder, "fp32"))
    report: dict[str, Any] = {"precision": "fp32"}
    if settings.int8:
        trial = Trial(fp32, student / "tokenizer.json", pairs, max_length, work, scoring_of(student), reads_products)
        report = {"target": settings.target, "calibration_pairs": len(pairs), **choose_precision(fp32, folder, trial, settings)}
    shutil.rmtree(work)
    made = {precision: model_file(folder, precision) for precision in PRECISIONS}
    return {**report, "megabytes": {precision: round(path.stat().st_size / 1e6, 1) for precision, path in made.items() if path.is_file()}}


def scoring_of(student: Path) -> dict[str, Any]:
    """Return what a bundle's manifest must say of a trained student for it to be scored."""
    return {"architecture": "bi_encoder", "scale": scale_of(student)} if is_bi_encoder(student) else {"architecture": "cross_encoder"}


def _to_onnx(student: Path, folder: Path) -> None:
    from optimum.onnxruntime import ORTModelForFeatureExtraction, ORTModelForSequenceClassification

    if not is_bi_encoder(student):
        ORTModelForSequenceClassification.from_pretrained(student, export=True).save_pretrained(folder)
        return
    from sentence_transformers import SentenceTransformer

    embedder: Any = SentenceTransformer(str(student), device="cpu")
    network = folder.with_name("network")  # the transformer alone: the runtime pools and normalises
    embedder[0].auto_model.save_pretrained(network)
    embedder.tokenizer.save_pretrained(network)
    ORTModelForFeatureExtraction.from_pretrained(network, export=True).save_pretrained(folder)


def model_file(folder: Path, precision: str) -> Path:
    """Return where an export's model of a precision is."""
    return folder / f"model_{precision}.onnx"


class Trial:
    """Scores the calibration pairs with a model, as the service would, and compares with fp32."""

    def __init__(
        self,
        fp32: Path,
        tokenizer: Path,
        pairs: Sequence[tuple[str, str]],
        max_length: int,
        work: Path,
        scoring: dict[str, Any],
        reads_products: Path | None = None,
    ) -> None:
        self._tokenizer, self._pairs, self.work, self._reads_products = tokenizer, list(pairs), work, reads_products
        self._manifest = {"name": "trial", "created": "", "template": {}, "max_length": max_length, "student": scoring}
        self._wanted = self._scores(fp32)

    def agreement(self, model: Path) -> dict[str, float]:
        """Return ``spearman``, the rank correlation with fp32 over all pairs, and ``mean_change`` and ``most_change`` of the raw score."""
        from scipy.stats import spearmanr

        scores = self._scores(model)
        change = np.abs(scores - self._wanted)
        if change.max() == 0:
            return {"spearman": 1.0, "mean_change": 0.0, "most_change": 0.0}
        spearman = float(np.nan_to_num(spearmanr(scores, self._wanted).statistic))
        return {"spearman": round(spearman, 6), "mean_change": round(float(change.mean()), 5), "most_change": round(float(change.max()), 5)}

    def _scores(self, model: Path) -> np.ndarray:
        models = {MODEL: self._reads_products, QUERIES: model} if self._reads_products else {MODEL: model}
        bundle = write_bundle(self.work / "trial", {**models, TOKENIZER: self._tokenizer}, self._manifest)
        return Reranker(bundle).logits(self._pairs)


def choose_precision(fp32: Path, folder: Path, trial: Trial, settings: Export) -> dict[str, Any]:
    """Make the int8 forms of a model and return the fastest precision whose agreement is at least ``least_agreement``."""
    as_weights = store_weights_in_int8(fp32, model_file(folder, "int8_weights"))
    agreement = {"int8_weights": trial.agreement(as_weights)}
    source = store_weights_in_int8(fp32, trial.work / "source.onnx", looked_up_only=True)
    whole = quantise(source, trial.work / "int8.onnx", exclude=[], reduce_range=settings.target == "any")
    agreement["int8"] = agreement["int8_of_all_layers"] = trial.agreement(whole)
    left: list[str] | None = []
    if agreement["int8"]["spearman"] < settings.least_agreement:
        left, agreement["int8"] = _leave_harmful_layers(source, trial, settings)
    if left is None:
        del agreement["int8"]
    else:
        store_weights_in_int8(trial.work / "int8.onnx", model_file(folder, "int8"))
    good = [p for p in ("int8", "int8_weights") if p in agreement and agreement[p]["spearman"] >= settings.least_agreement]
    return {"precision": good[0] if good else "fp32", "agreement": agreement, "left_in_fp32": left}


def _leave_harmful_layers(source: Path, trial: Trial, settings: Export) -> tuple[list[str] | None, dict[str, float]]:
    """Leave the fewest layers in fp32 that give enough agreement; None where half of them do not. The model is ``work/int8.onnx``.

    Layers are ordered once by the harm each does alone in int8 (with the others in int8 too, its own part would drown in
    theirs), then the number to leave is halved in on: a trial a layer and a few more.
    """
    nodes, target = inner_nodes(source), trial.work / "int8.onnx"
    reduce_range = settings.target == "any"

    def left(names: Sequence[str]) -> dict[str, float]:
        return trial.agreement(quantise(source, target, exclude=names, reduce_range=reduce_range))

    alone = {node: left([other for other in nodes if other != node]) for node in nodes}
    by_harm = sorted(nodes, key=lambda node: (alone[node]["spearman"], -alone[node]["mean_change"]))
    low, high = 1, int(len(nodes) * MOST_LEFT_IN_FP32)
    if high < low or left(by_harm[:high])["spearman"] < settings.least_agreement:
        return None, {}
    while low < high:
        middle = (low + high) // 2
        if left(by_harm[:middle])["spearman"] >= settings.least_agreement:
            high = middle
        else:
            low = middle + 1
    return by_harm[:high], left(by_harm[:high])
