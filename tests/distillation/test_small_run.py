"""The whole path on a small slice: judgments, teacher, labels, student, ONNX, gate, bundle; with a kill and a resumed run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from reranker import Reranker
from reranker.bundle import load_bundle

pytestmark = pytest.mark.slow
COMMAND = [sys.executable, "-m", "reranker", "distill"]


def test_the_bundle_serves(run: Path) -> None:
    reranker = Reranker.load(run / "bundle")
    scores = reranker.score("laptop", ["a laptop computer", {"id": "1", "title": "garden hose"}])
    assert scores.shape == (2,)
    assert np.isfinite(scores).all()
    assert ((scores >= 0) & (scores <= 1)).all()


def test_the_bundle_says_what_it_was_made_of(run: Path) -> None:
    manifest = load_bundle(run / "bundle").manifest
    assert manifest.teacher["model"] == "all-MiniLM-L6-v2"
    assert manifest.name == "small"
    assert manifest.student["layers"] == 2
    assert manifest.seen.intents
    assert manifest.licences
    assert set(manifest.metrics["ndcg@10"]) >= {"bm25", "teacher", "label_fusion", "student_fp32", "student_int8_weights", "vectors_fp32", "minilm_cosine"}
    card = (run / "bundle" / "MODEL_CARD.md").read_text()
    assert manifest.teacher["model"] in card
    assert f"{manifest.metrics['ndcg@10']['bm25']:.3f}" in card


def test_onnx_scores_like_the_trained_student(run: Path) -> None:
    from sentence_transformers import CrossEncoder

    pairs = [("laptop", "a laptop computer"), ("usb hub", "StarTech.com 4 port USB 3.0 hub"), ("tv", "toner cartridge"), ("tripod", "camera bag " * 60)]
    trained = CrossEncoder(str(run / "4-student"), device="cpu").predict(pairs)
    np.testing.assert_allclose(Reranker.load(run / "6-gate" / "student_fp32").logits(pairs), trained, atol=2e-3)


def test_a_bi_encoder_scores_as_trained_and_the_same_again(run: Path) -> None:
    from sentence_transformers import SentenceTransformer

    assert load_bundle(run / "bundles" / "vectors").manifest.name == "small-vectors"
    reranker = Reranker.load(run / "6-gate" / "vectors_fp32")
    assert reranker.keeps_vectors
    texts = ["a laptop computer", "StarTech.com 4 port USB 3.0 hub", "camera bag " * 60, ""]
    trained = SentenceTransformer(str(run / "4-student-vectors"), device="cpu")
    vectors = trained.encode(["laptop", *texts], normalize_embeddings=True)
    first = reranker.logits([("laptop", text) for text in texts])
    np.testing.assert_allclose(first, 5.0 * vectors[1:] @ vectors[0], atol=5e-3)
    assert (reranker.logits([("laptop", text) for text in texts[::-1]]) == first[::-1]).all()
    served = json.loads((run / "report.json").read_text())["stages"]["gate"]["variants"][1]
    assert 0 < served["p50_ms"] < served["p50_new_products_ms"]
    assert load_bundle(run / "bundles" / "vectors").manifest.format == 2


def test_a_query_encoder_reads_queries_and_leaves_products_to_its_bi_encoder(run: Path) -> None:
    from sentence_transformers import SentenceTransformer

    quick, whole = (Reranker.load(run / "6-gate" / f"{name}_fp32") for name in ("quick", "vectors"))
    texts = ["a laptop computer", "StarTech.com 4 port USB 3.0 hub"]
    queries = SentenceTransformer(str(run / "4-student-quick"), device="cpu").encode(["usb hub"], normalize_embeddings=True)
    products = SentenceTransformer(str(run / "4-student-vectors"), device="cpu").encode(texts, normalize_embeddings=True)
    np.testing.assert_allclose(quick.logits([("usb hub", text) for text in texts]), 5.0 * products @ queries[0], atol=5e-3)
    assert quick.vector_space == whole.vector_space  # one folder of stored vectors serves both
    assert quick.bundle.version != whole.bundle.version
    card = (run / "bundles" / "quick" / "MODEL_CARD.md").read_text()
    assert "Queries are encoded by a smaller model of 1 layers" in card
    assert "The student learnt from them for 1 epoch(s)" in card
    assert "queries for 1 epoch(s)" in card  # of a tenth of them
    assert json.loads((run / "report.json").read_text())["stages"]["student-quick"]["cosine"] > 0.5


def test_the_report_tells_every_stage(run: Path) -> None:
    report = json.loads((run / "report.json").read_text())
    assert list(report["stages"]) == [
        *("teacher", "vectors", "pairs", "labels", "fusion"),
        *("student", "export", "student-vectors", "export-vectors"),
        *("student-quick", "export-quick", "gate"),
    ]
    assert report["stages"]["labels"]["pairs"] == report["stages"]["pairs"]["pairs"] > 1000
    gate, queries = report["stages"]["gate"], report["held_out_queries"]
    assert len(queries) == gate["queries"]
    assert gate["ndcg@10"]["teacher"] == pytest.approx(sum(query["ndcg"]["teacher"] for query in queries) / len(queries), abs=1e-4)


def test_the_report_sets_quality_against_latency(run: Path) -> None:
    variants = json.loads((run / "report.json").read_text())["stages"]["gate"]["variants"]
    assert [variant["variant"] for variant in variants] == ["student", "vectors", "quick"]
    assert all(
        0 <= variant["interval"][0] <= variant["ndcg@10"] <= variant["interval"][1] <= 1 and 0 < variant["p50_ms"] <= variant["p95_ms"] for variant in variants
    )


def test_a_budget_that_cannot_be_met_refuses_and_keeps_the_old_bundle(run: Path, small_recipe: str) -> None:
    before = load_bundle(run / "bundle").manifest.created
    command = [*COMMAND, small_recipe, "--run", str(run), "--budget-ms", "0.01"]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert result.returncode == 5
    assert "The gate refuses" in result.stderr
    assert "within 0.01 ms" in result.stderr
    assert "quick" in result.stderr
    assert "Traceback" not in result.stderr
    assert "4-student-quick: done before" in result.stderr
    assert load_bundle(run / "bundle").manifest.created == before
