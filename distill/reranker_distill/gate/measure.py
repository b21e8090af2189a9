"""Measures the students on the held-out intents, writes their bundles, and decides which one serves."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reranker.evaluation import Comparison, evaluate_rankings
from reranker.evaluation.comparison import Ranker
from reranker.evaluation.embedder import NAME as EMBEDDER
from reranker.evaluation.embedder import load_embedder
from reranker.evaluation.latency import measure_latency
from reranker.first_stage import FirstStage
from reranker.products import Product
from reranker.search import TwoStageSearch
from reranker.text import ProductTemplate
from reranker_distill.gate.decision import VariantMeasurement, agreement_refusals, choose, quality_refusals
from reranker_distill.gate.manifest import bundle_manifest
from reranker_distill.gate.prior_measurements import PriorMeasurements
from reranker_distill.gate.trained_variant import TrainedVariant
from reranker_distill.gate.variant_bundles import LoadedVariant, choose_precisions, load_variant, write_final_bundle
from reranker_distill.pairs import LabelledPair
from reranker_distill.recipe import Gate, Provenance
from reranker_distill.splits import Split

HITS = 50
"""How many hits the latency budget is for."""

CALIBRATION_PAIRS = 2_000
MAX_TIMED_QUERIES = 200
NOT_MEASURED = "not measured: no judgments"

PER_QUERY = "per-query.json"
"""nDCG@10 of each ranking on each held-out query; several runs' can be pooled."""

BUNDLES = "bundles"
CATALOGUE_VECTORS = "vectors"
"""The folder of the catalogue's vectors for ``reranker serve --vectors``."""

_BASELINES = ("bm25", EMBEDDER, "teacher", "label_fusion")


@dataclass(frozen=True)
class GateInputs:
    """What the gate works on.

    ``labelled`` are the pairs that the students learnt from, ``judged_pairs`` how many the teacher did. ``rankers`` are what
    students are compared with, ``bm25`` among them. ``prior`` stands for measurements where nothing is held out.
    """

    settings: Gate
    provenance: Provenance
    template: ProductTemplate
    seed: int
    split: Split
    products: Mapping[str, Product]
    labelled: Sequence[LabelledPair]
    judged_pairs: int
    variants: Sequence[TrainedVariant]
    rankers: Mapping[str, Ranker]
    first_stage: FirstStage
    prior: PriorMeasurements | None


def pass_gate(
    inputs: GateInputs, folder: Path, *, say: Callable[[str], None], progress: Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
) -> dict[str, Any]:
    """Measure each student in each precision, and what it is compared with, on the held-out intents.

    Each student's bundle is ``folder/bundles/NAME``; the ``chosen`` one is ``ship``, or with a budget the best within it, and its
    vectors of the catalogue are in ``folder/vectors``. A precision was chosen by the export on labelled pairs; one that loses too
    much on the held-out queries is replaced by a more faithful one. Without judgments nDCG is not measured (``not_measured``):
    latency and agreement with fp32 are checked. Where nothing is held out, ``prior`` measurements decide (``cross_validated``).

    Returns:
        The measurements, and under ``refused`` why no bundle may serve (empty: one may).
    """
    settings, prior = inputs.settings, inputs.prior
    variants = _load_variants(inputs, folder)
    measured, absent = _measure_quality(inputs, variants, say)
    ndcg = {name: measured.mean(name) for name in measured.rankings} if measured else {}
    if measured:
        variants = _choose_precisions(variants, ndcg, settings.max_loss, say)
    queries = _timed_queries(inputs)
    rows = [_measure_variant(variant, settings, measured, ndcg, inputs.first_stage, queries) for variant in variants]
    for row, variant in zip(rows, variants, strict=True):
        quality = f"nDCG@10 {row.ndcg:.3f}, " if measured else f"agreement with fp32 {variant.fp32_agreement:.4f}, "
        say(f"  {row.variant}: {quality}{row.p50_ms:.1f} ms for {HITS} hits, {row.megabytes} MB, {variant.precision}")
    chosen, refused = choose(rows, settings.budget_ms, settings.ship)
    shown = chosen or next(row for row in rows if row.variant == settings.ship)
    shown_variant = variants[rows.index(shown)]
    if settings.catalogue_vectors and shown_variant.chosen.keeps_vectors:
        with progress("the catalogue's vectors", len(inputs.products)) as advance:
            shown_variant.chosen.store_vectors(folder / CATALOGUE_VECTORS, inputs.products.values(), on_products=advance)
    common = {
        "queries": measured.queries if measured else 0,
        **({"intents": measured.intents} if measured else {}),
        "ndcg@10": {name: round(value, 4) for name, value in ndcg.items()},
        "interval": {name: _rounded(measured.interval(name)) for name in ndcg} if measured else {},
        "absent": absent,
        "variants": [row.as_dict() for row in rows],
        "budget_ms": settings.budget_ms,
        **({} if measured else {"not_measured": NOT_MEASURED}),
        **({"cross_validated": list(prior.runs)} if prior else {}),
    }
    for variant, row in zip(variants, rows, strict=True):
        write_final_bundle(variant, folder / BUNDLES / variant.name, {**common, **_variant_metrics(measured, variant, row), "refused": row.refused})
    if measured and inputs.split.held_out:
        (folder / PER_QUERY).write_text(json.dumps([scores._asdict() for scores in measured.per_query], indent=1), encoding="utf-8")
    return {**common, "chosen": shown.variant, **_variant_metrics(measured, shown_variant, shown), "refused": refused}


def _load_variants(inputs: GateInputs, folder: Path) -> list[LoadedVariant]:
    labelled = inputs.labelled
    sample = [labelled[i] for i in np.random.default_rng(inputs.seed).permutation(len(labelled))[:CALIBRATION_PAIRS]]
    texts = [(pair.query, inputs.template.render(inputs.products[pair.product_id])) for pair in sample]
    relevance = np.array([pair.relevance for pair in sample])
    loaded = []
    for variant in inputs.variants:
        manifest = bundle_manifest(variant, inputs.provenance, inputs.split, labelled_pairs=len(labelled), judged_pairs=inputs.judged_pairs)
        loaded.append(load_variant(variant, manifest, inputs.provenance.notice, texts, relevance, folder))
    return loaded


def _measure_quality(inputs: GateInputs, variants: Sequence[LoadedVariant], say: Callable[[str], None]) -> tuple[Comparison | None, dict[str, str]]:
    """Return nDCG@10 of all rankings, or None where there are no judgments; and why a ranking is absent."""
    students = {f"{variant.name}_{precision}": student.score for variant in variants for precision, student in variant.students.items()}
    absent: dict[str, str] = {}
    if inputs.split.held_out:
        rankers: dict[str, Ranker] = {**inputs.rankers, **students}
        embedder = load_embedder(inputs.template)
        if isinstance(embedder, str):
            absent = {EMBEDDER: embedder}
            say(f"  [yellow]{EMBEDDER} is not compared: {embedder}[/]")
        else:
            rankers[EMBEDDER] = embedder
        measured = evaluate_rankings(inputs.split.held_out, inputs.products, rankers)
        source = "of held-out intents"
    elif inputs.prior:
        measured = inputs.prior.of([*_BASELINES, *students])
        source = f"measured by {', '.join(inputs.prior.runs)}"
    else:
        say(f"  [yellow]nDCG@10 is {NOT_MEASURED}; agreement with fp32 and latency are[/]")
        return None, absent
    say(f"  nDCG@10 on {measured.queries} queries {source}: " + ", ".join(f"{name} {measured.mean(name):.3f}" for name in measured.rankings))
    return measured, absent


def _choose_precisions(variants: list[LoadedVariant], ndcg: Mapping[str, float], max_loss: float, say: Callable[[str], None]) -> list[LoadedVariant]:
    chosen = choose_precisions(variants, ndcg, max_loss)
    for before, after in zip(variants, chosen, strict=True):
        if after.precision != before.precision:
            say(f"  {after.name} is served in {after.precision}: {before.precision} loses more than {max_loss:g} to fp32, or was not measured")
    return chosen


def _measure_variant(
    variant: LoadedVariant, settings: Gate, measured: Comparison | None, ndcg: Mapping[str, float], first_stage: FirstStage, queries: Sequence[str]
) -> VariantMeasurement:
    """Time a student, and return what was measured of it."""
    search = TwoStageSearch(first_stage, variant.chosen, k=HITS)
    new_products = round(measure_latency(search, queries, HITS, new_products=True)["rerank"].p50, 2) if variant.chosen.keeps_vectors else None
    times = measure_latency(search, queries, HITS)["rerank"]
    name = f"{variant.name}_{variant.precision}"
    return VariantMeasurement(
        variant=variant.name,
        ranking=name,
        interval=measured.interval(name) if measured else None,
        p50_ms=round(times.p50, 2),
        p95_ms=round(times.p95, 2),
        samples=times.samples,
        megabytes=round(variant.megabytes, 1),
        p50_new_products_ms=new_products,
        refused=quality_refusals(ndcg, name, f"{variant.name}_fp32", settings) if measured else agreement_refusals(variant.fp32_agreement),
    )


def _variant_metrics(measured: Comparison | None, variant: LoadedVariant, row: VariantMeasurement) -> dict[str, Any]:
    """Return the metrics of one student, with paired intervals of its differences from other rankings."""
    latency = {"hits": HITS, "p50": row.p50_ms, "p95": row.p95_ms, "samples": row.samples}
    if row.p50_new_products_ms is not None:
        latency["p50_new_products"] = row.p50_new_products_ms
    return {
        "ranking": row.ranking,
        "precision": variant.precision,
        "teacher_agreement": variant.agreements[variant.precision],
        "fp32_agreement": variant.fp32_agreement,
        "difference": _differences(measured, row) if measured else {},
        "latency_ms": latency,
    }


def _differences(measured: Comparison, row: VariantMeasurement) -> dict[str, Any]:
    """Return a student's differences from other rankings, as ``<student>-<other>``."""
    return {
        f"{row.variant}-{other}": {
            "mean": round(measured.difference(row.ranking, other).mean, 6),
            "interval": _rounded(measured.difference(row.ranking, other)),
            **measured.record(row.ranking, other)._asdict(),
        }
        for other in (*_BASELINES, f"{row.variant}_fp32")
        if other in measured.rankings and other != row.ranking
    }


def _timed_queries(inputs: GateInputs) -> list[str]:
    """Return queries with ``HITS`` hits, or all where none has: judged ones (their judgments are not used), or else labelled ones."""
    judged = [j.query for j in [*inputs.split.held_out, *inputs.split.train]]
    queries = list(dict.fromkeys(judged or [pair.query for pair in inputs.labelled]))[:MAX_TIMED_QUERIES]
    full = [query for query in queries if len(inputs.first_stage.search(query, HITS)) == HITS]
    return full or queries


def _rounded(interval: Any) -> list[float]:
    return [round(interval.low, 4), round(interval.high, 4)]
