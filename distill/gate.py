"""The gate: what the bundle must show on held-out intents before it may serve."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from distill.calibration import calibrate
from distill.export import PRECISIONS, model_file
from distill.pairs import read_labelled
from distill.recipe import Recipe
from distill.splits import Split
from distill.stages import Stage
from distill.teacher import Teacher
from reranker.bundle import write_bundle
from reranker.evaluation import evaluate_rankings
from reranker.evaluation.embedder import load_embedder
from reranker.evaluation.picture import draw
from reranker.evaluation.report import bm25_ranker, evaluate
from reranker.first_stage import FirstStage
from reranker.products import Product
from reranker.student import Reranker

CALIBRATION_PAIRS = 2_000


def pass_gate(
    recipe: Recipe,
    split: Split,
    products: Mapping[str, Product],
    made: Mapping[str, Stage],
    *,
    first_stage: FirstStage,
    folder: Path,
    picture: Path,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Measure the teacher, the student in each precision, BM25 and the off-the-shelf embedder on the held-out intents.

    The fastest precision that loses at most ``max_loss`` nDCG@10 to fp32 becomes the bundle, ``folder/bundle``; ``picture``
    shows what it does on them. Returns the measurements, and under ``refused`` why the bundle may not serve (empty: it may).
    """
    labelled = read_labelled(sorted(made["labels"].folder.glob("labels-*.parquet")))
    sample = [labelled[i] for i in np.random.default_rng(recipe.seed).permutation(len(labelled))[:CALIBRATION_PAIRS]]
    texts = [(pair.query, recipe.template.render(products[pair.product_id])) for pair in sample]
    relevance = np.array([pair.relevance for pair in sample])

    manifest = _manifest(recipe, split, made)
    students: dict[str, Reranker] = {}
    logits: dict[str, np.ndarray] = {}
    for precision in PRECISIONS:
        model = model_file(made["export"].folder, precision)
        if not model.is_file():
            continue
        files = _files(model, made, recipe, folder)
        logits[precision] = Reranker(write_bundle(folder / precision, files, manifest)).logits(texts)
        calibrated = {**manifest, "calibration": calibrate(logits[precision], relevance).model_dump()}
        students[precision] = Reranker(write_bundle(folder / precision, files, calibrated))

    teacher = Teacher(made["teacher"].folder)
    rankers: dict[str, Callable[..., Any]] = {
        "bm25": bm25_ranker(first_stage),
        "teacher": teacher.relevance,
        **{f"student_{precision}": student.score for precision, student in students.items()},
    }
    embedder = load_embedder(recipe.template)
    if not isinstance(embedder, str):
        rankers["minilm_cosine"] = embedder
    measured = evaluate_rankings(split.held_out, products, rankers)
    ndcg = {name: measured.mean(name) for name in rankers}
    chosen = next(p for p in PRECISIONS if p in students and ndcg[f"student_{p}"] >= ndcg["student_fp32"] - recipe.gate.max_loss)
    refused = []
    if ndcg[f"student_{chosen}"] < ndcg["bm25"] + recipe.gate.beat_bm25_by:
        refused.append(f"nDCG@10 {ndcg[f'student_{chosen}']:.3f} is not {recipe.gate.beat_bm25_by:g} above BM25's {ndcg['bm25']:.3f}")
    say(f"  nDCG@10 on {measured.queries} queries of held-out intents: " + ", ".join(f"{name} {value:.3f}" for name, value in ndcg.items()))
    report = {
        "queries": measured.queries,
        "ndcg@10": {name: round(value, 4) for name, value in ndcg.items()},
        "precision": chosen,
        "teacher_agreement": round(_rank_correlation(logits[chosen], relevance), 4),
        "agreement_with_fp32": {p: round(_rank_correlation(logits[p], logits["fp32"]), 5) for p in students if p != "fp32"},
        "refused": refused,
    }
    final = {
        **manifest,
        "calibration": students[chosen].bundle.manifest.calibration.model_dump(),
        "metrics": {k: v for k, v in report.items() if k != "refused"},
    }
    model = model_file(made["export"].folder, chosen)
    bundle = write_bundle(folder / "bundle", _files(model, made, recipe, folder), final)
    say("  drawing what the bundle does on them")
    evaluation = evaluate(first_stage, Reranker(bundle), split.held_out)
    draw(evaluation, picture)
    told = evaluation.as_dict()
    return {**report, "difference": told["difference"], "latency_ms": told["latency_ms"]}


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)


def _files(model: Path, made: Mapping[str, Stage], recipe: Recipe, folder: Path) -> dict[str, Path]:
    files = {"model.onnx": model, "tokenizer.json": made["student"].folder / "tokenizer.json"}
    if recipe.teacher.notice:
        files["NOTICE"] = folder / "NOTICE"
        files["NOTICE"].write_text(recipe.teacher.notice + "\n", encoding="utf-8")
    return files


def _manifest(recipe: Recipe, split: Split, made: Mapping[str, Stage]) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "template": recipe.template.model_dump(mode="json"),
        "max_length": recipe.student.max_length,
        "student": {"start": recipe.student.model, **{k: made["student"].report[k] for k in ("layers", "width", "parameters")}},
        "teacher": {"model": recipe.teacher.model, "judged_pairs": made["teacher"].report["pairs"]},
        "training": {"labelled_pairs": made["labels"].report["pairs"], "epochs": recipe.student.epochs, "loss": "margin MSE", "seed": recipe.seed},
        "seen": {"intents": sorted({j.intent for j in split.train}), "queries": sorted({j.query for j in split.train})},
        "licences": [
            {"of": "student's start point", "name": recipe.student.model, "licence": recipe.student.licence},
            {"of": "teacher", "name": recipe.teacher.model, "licence": recipe.teacher.licence},
            {
                "of": "training data",
                "name": recipe.data.catalog,
                "licence": "Open Icecat; Chorus (Apache-2.0)" if recipe.data.catalog == "demo" else "your own",
            },
        ],
    }
