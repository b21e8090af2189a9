"""Export: the trained student as ONNX, its graph optimised, stored in the fastest precision that keeps the order of its scores."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reranker.bundle import MODEL, QUERIES, TOKENIZER, write_bundle
from reranker.reranker import Reranker
from reranker_distill.quantisation import inner_nodes, quantise, store_weights_in_int8
from reranker_distill.student.bi_encoder import is_bi_encoder, scale_of

PRECISIONS = ("int8", "int8_weights", "fp32")
"""From the fastest to the most faithful: integer arithmetic, float arithmetic with weights stored in int8, floats throughout."""

CALIBRATION_PAIRS = 300
"""Labelled pairs that the agreement with fp32 is measured on."""

LEAST_AGREEMENT = 0.9995
"""Spearman correlation with the fp32 scores that a precision must keep."""

MAX_SHARE_IN_FP32 = 0.5
"""Share of the layers; with more left in fp32, integer arithmetic saves too little to be worth it."""


def export_student(
    student: Path,
    folder: Path,
    *,
    pairs: Sequence[tuple[str, str]],
    max_length: int,
    product_model: Path | None = None,
    least_agreement: float = LEAST_AGREEMENT,
) -> dict[str, Any]:
    """Export a trained student into ``folder`` and choose its precision, one of ``PRECISIONS``.

    fp32: optimum's export and transformer-specific graph fusions (its level O2). int8_weights: as small as int8, as slow
    as fp32, and nearly its scores. int8: ONNX Runtime's dynamic quantisation, with the layers that change the order of the
    scores most left in fp32; left out where that would be more than half of them.

    Args:
        pairs: (query, product text) that the agreement with fp32 is measured on; none of a held-out intent.
        product_model: the model that encodes products, where the student is a query encoder.
        least_agreement: Spearman correlation with the fp32 scores that a precision must keep.

    Returns:
        The stage's report: ``precision``, the chosen one; ``agreement``, by precision; ``left_in_fp32``; sizes.
    """
    from optimum.onnxruntime import ORTOptimizer
    from optimum.onnxruntime.configuration import OptimizationConfig

    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    _to_onnx(student, work / "export")
    optimizer = ORTOptimizer.from_pretrained(work / "export")
    optimizer.optimize(save_dir=work / "optimised", optimization_config=OptimizationConfig(optimization_level=2))
    fp32 = next((work / "optimised").glob("*.onnx")).rename(model_file(folder, "fp32"))
    trial = Trial(fp32, student / "tokenizer.json", pairs, max_length, work, scoring_of(student), product_model)
    report = {"calibration_pairs": len(pairs), **choose_precision(fp32, folder, trial, least_agreement)}
    shutil.rmtree(work)
    exported = {precision: model_file(folder, precision) for precision in PRECISIONS}
    return {**report, "megabytes": {precision: round(path.stat().st_size / 1e6, 1) for precision, path in exported.items() if path.is_file()}}


def scoring_of(student: Path) -> dict[str, Any]:
    """Return what a bundle's manifest must say of a trained student's architecture."""
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
    """Return the file of an export's model in a precision."""
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
        product_model: Path | None = None,
    ) -> None:
        self._tokenizer, self._pairs, self.work, self._product_model = tokenizer, list(pairs), work, product_model
        self._manifest = {"name": "trial", "created": "", "template": {}, "max_length": max_length, "student": scoring}
        self._fp32_scores = self._scores(fp32)

    def agreement(self, model: Path) -> dict[str, float]:
        """Return ``spearman``, the rank correlation with fp32 over all pairs, and ``mean_change`` and ``max_change`` of the raw score."""
        from scipy.stats import spearmanr

        scores = self._scores(model)
        change = np.abs(scores - self._fp32_scores)
        if change.max() == 0:
            return {"spearman": 1.0, "mean_change": 0.0, "max_change": 0.0}
        spearman = float(np.nan_to_num(spearmanr(scores, self._fp32_scores).statistic))
        return {"spearman": round(spearman, 6), "mean_change": round(float(change.mean()), 5), "max_change": round(float(change.max()), 5)}

    def _scores(self, model: Path) -> np.ndarray:
        models = {MODEL: self._product_model, QUERIES: model} if self._product_model else {MODEL: model}
        bundle = write_bundle(self.work / "trial", {**models, TOKENIZER: self._tokenizer}, self._manifest)
        return Reranker(bundle).logits(self._pairs)


def choose_precision(fp32: Path, folder: Path, trial: Trial, least_agreement: float) -> dict[str, Any]:
    """Make the int8 forms of a model and return the fastest precision whose agreement is at least ``least_agreement``."""
    as_weights = store_weights_in_int8(fp32, model_file(folder, "int8_weights"))
    agreement = {"int8_weights": trial.agreement(as_weights)}
    source = store_weights_in_int8(fp32, trial.work / "source.onnx", embeddings_only=True)
    whole = quantise(source, trial.work / "int8.onnx", exclude=[])
    agreement["int8"] = agreement["int8_of_all_layers"] = trial.agreement(whole)
    left: list[str] | None = []
    if agreement["int8"]["spearman"] < least_agreement:
        left, agreement["int8"] = _exclude_layers(source, trial, least_agreement)
    if left is None:
        del agreement["int8"]
    else:
        store_weights_in_int8(trial.work / "int8.onnx", model_file(folder, "int8"))
    good = [p for p in ("int8", "int8_weights") if p in agreement and agreement[p]["spearman"] >= least_agreement]
    return {"precision": good[0] if good else "fp32", "agreement": agreement, "left_in_fp32": left}


def _exclude_layers(source: Path, trial: Trial, least_agreement: float) -> tuple[list[str] | None, dict[str, float]]:
    """Leave the fewest layers in fp32 that give enough agreement; None where half of them do not. The model is ``work/int8.onnx``.

    Layers are ordered once by the change that each makes alone in int8, then a binary search finds how many to leave.
    """
    nodes, target = inner_nodes(source), trial.work / "int8.onnx"

    def left(names: Sequence[str]) -> dict[str, float]:
        return trial.agreement(quantise(source, target, exclude=names))

    alone = {node: left([other for other in nodes if other != node]) for node in nodes}
    by_change = sorted(nodes, key=lambda node: (alone[node]["spearman"], -alone[node]["mean_change"]))
    low, high = 1, int(len(nodes) * MAX_SHARE_IN_FP32)
    if high < low or left(by_change[:high])["spearman"] < least_agreement:
        return None, {}
    while low < high:
        middle = (low + high) // 2
        if left(by_change[:middle])["spearman"] >= least_agreement:
            high = middle
        else:
            low = middle + 1
    return by_change[:high], left(by_change[:high])
