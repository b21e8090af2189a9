"""The stage that measures the students on the held-out intents, writes their bundles, and decides which one serves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reranker.evaluation import Comparison, evaluate_rankings
from reranker.evaluation.comparison import Ranker
from reranker.evaluation.embedder import NAME as EMBEDDER
from reranker.evaluation.embedder import load_embedder
from reranker.evaluation.latency import measure_latency
from reranker.evaluation.report import bm25_ranker
from reranker.first_stage import FirstStage
from reranker.search import TwoStageSearch
from reranker_distill.gate.decision import VariantMeasurement, agreement_refusals, choose, quality_refusals
from reranker_distill.gate.variant_bundles import LoadedVariant, Variant, bundle_manifest, choose_precisions, load_variant, write_final_bundle
from reranker_distill.pairs import LabelledPair, labelled_in
from reranker_distill.recipe import MAIN_STUDENT, Gate, Provenance
from reranker_distill.splits import Split
from reranker_distill.stages.fusion import FusionStage
from reranker_distill.stages.pairs import PairsStage
from reranker_distill.stages.stage import GATE, Stage, Workspace
from reranker_distill.stages.teacher import TeacherStage

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


class GateStage(Stage):
    """Measures each student in each precision, and what it is compared with; ``labels`` is the stage whose labels they learnt from.

    Each student's bundle is ``bundles/NAME`` in the stage's folder; the ``chosen`` one is the main student, or with a budget the
    best within it, and its vectors of the catalogue are in ``vectors``. A precision was chosen by the export on labelled pairs;
    one that loses too much on the held-out queries is replaced by a more faithful one. Without judgments nDCG is not measured
    (``not_measured``): latency and agreement with fp32 are checked. ``refused`` says why no bundle may serve; empty: one may.
    """

    name = GATE

    def __init__(
        self,
        workspace: Workspace,
        settings: Gate,
        provenance: Provenance,
        split: Split,
        pairs: PairsStage,
        labels: Stage,
        teacher: TeacherStage | None,
        variants: Sequence[Variant],
    ) -> None:
        self._workspace, self._settings, self._provenance, self._split = workspace, settings, provenance, split
        self._pairs, self._labels, self._teacher, self._variants = pairs, labels, teacher, variants

    def reads(self) -> Mapping[str, Any]:
        return {
            "exports": {variant.name: [variant.student.result.fingerprint, variant.export.result.fingerprint] for variant in self._variants},
            "labels": self._labels.result.fingerprint,
            "gate": self._settings.model_dump(),
            "provenance": self._provenance._asdict(),
        }

    def run(self, folder: Path) -> dict[str, Any]:
        workspace, settings, say = self._workspace, self._settings, self._workspace.say
        labelled, first_stage = labelled_in(self._labels.result.folder), self._pairs.first_stage()
        variants = self._load_variants(labelled, folder)
        measured, absent = self._measure_quality(variants, first_stage)
        ndcg = {name: measured.mean(name) for name in measured.rankings} if measured else {}
        if measured:
            exported = {variant.name: variant.precision for variant in variants}
            variants = choose_precisions(variants, ndcg, settings.max_loss)
            for variant in variants:
                if variant.precision != exported[variant.name]:
                    say(f"  {variant.name} is served in {variant.precision}: {exported[variant.name]} loses more than {settings.max_loss:g} to fp32")
        queries = self._timed_queries(labelled, first_stage)
        rows = [_measure_variant(variant, settings, measured, ndcg, first_stage, queries) for variant in variants]
        for row, variant in zip(rows, variants, strict=True):
            quality = f"nDCG@10 {row.ndcg:.3f}, " if measured else f"agreement with fp32 {variant.fp32_agreement:.4f}, "
            say(f"  {row.variant}: {quality}{row.p50_ms:.1f} ms for {HITS} hits, {row.megabytes} MB, {variant.precision}")
        chosen, refused = choose(rows, settings.budget_ms)
        shown = chosen or next(row for row in rows if row.variant == MAIN_STUDENT)
        shown_variant = variants[rows.index(shown)]
        if shown_variant.chosen.keeps_vectors:
            with workspace.progress("the catalogue's vectors", len(workspace.products)) as advance:
                shown_variant.chosen.store_vectors(folder / CATALOGUE_VECTORS, workspace.products.values(), on_products=advance)
        common = {
            "queries": measured.queries if measured else 0,
            **({"intents": measured.intents} if measured else {}),
            "ndcg@10": {name: round(value, 4) for name, value in ndcg.items()},
            "interval": {name: _rounded(measured.interval(name)) for name in ndcg} if measured else {},
            "absent": absent,
            "variants": [row.as_dict() for row in rows],
            "budget_ms": settings.budget_ms,
            **({} if measured else {"not_measured": NOT_MEASURED}),
        }
        for variant, row in zip(variants, rows, strict=True):
            write_final_bundle(variant, folder / BUNDLES / variant.name, {**common, **_variant_metrics(measured, variant, row), "refused": row.refused})
        if measured:
            (folder / PER_QUERY).write_text(json.dumps([scores._asdict() for scores in measured.per_query], indent=1), encoding="utf-8")
        return {**common, "chosen": shown.variant, **_variant_metrics(measured, shown_variant, shown), "refused": refused}

    def _load_variants(self, labelled: Sequence[LabelledPair], folder: Path) -> list[LoadedVariant]:
        workspace = self._workspace
        judged_pairs = self._teacher.result.report.get("pairs", 0) if self._teacher else 0
        sample = [labelled[i] for i in np.random.default_rng(workspace.seed).permutation(len(labelled))[:CALIBRATION_PAIRS]]
        texts = [(pair.query, workspace.template.render(workspace.products[pair.product_id])) for pair in sample]
        relevance = np.array([pair.relevance for pair in sample])
        loaded = []
        for variant in self._variants:
            manifest = bundle_manifest(variant, self._provenance, self._split, labelled_pairs=len(labelled), judged_pairs=judged_pairs)
            loaded.append(load_variant(variant, manifest, self._provenance.notice, texts, relevance, folder))
        return loaded

    def _measure_quality(self, variants: Sequence[LoadedVariant], first_stage: FirstStage) -> tuple[Comparison | None, dict[str, str]]:
        """Return nDCG@10 of all rankings, or None where there are no judgments; and why a ranking is absent."""
        say = self._workspace.say
        students = {f"{variant.name}_{precision}": student.score for variant in variants for precision, student in variant.students.items()}
        absent: dict[str, str] = {}
        if not self._split.held_out:
            say(f"  [yellow]nDCG@10 is {NOT_MEASURED}; agreement with fp32 and latency are[/]")
            return None, absent
        rankers: dict[str, Ranker] = {**self._rankers(first_stage), **students}
        embedder = load_embedder(self._workspace.template)
        if isinstance(embedder, str):
            absent = {EMBEDDER: embedder}
            say(f"  [yellow]{EMBEDDER} is not compared: {embedder}[/]")
        else:
            rankers[EMBEDDER] = embedder
        measured = evaluate_rankings(self._split.held_out, self._workspace.products, rankers)
        say(f"  nDCG@10 on {measured.queries} queries of held-out intents: " + ", ".join(f"{name} {measured.mean(name):.3f}" for name in measured.rankings))
        return measured, absent

    def _rankers(self, first_stage: FirstStage) -> dict[str, Ranker]:
        """Return what students are compared with, beside the off-the-shelf embedder."""
        rankers: dict[str, Ranker] = {"bm25": bm25_ranker(first_stage)}
        if self._teacher:
            from reranker_distill.teacher import load_teacher

            rankers["teacher"] = load_teacher(self._teacher.result.folder).relevance
        if isinstance(self._labels, FusionStage):
            rankers["label_fusion"] = self._labels.ranker(rankers.get("teacher"))
        return rankers

    def _timed_queries(self, labelled: Sequence[LabelledPair], first_stage: FirstStage) -> list[str]:
        """Return queries with ``HITS`` hits, or all where none has: judged ones (their judgments are not used), or else labelled ones."""
        judged = [j.query for j in [*self._split.held_out, *self._split.train]]
        queries = list(dict.fromkeys(judged or [pair.query for pair in labelled]))[:MAX_TIMED_QUERIES]
        full = [query for query in queries if len(first_stage.search(query, HITS)) == HITS]
        return full or queries


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


def _rounded(interval: Any) -> list[float]:
    return [round(interval.low, 4), round(interval.high, 4)]
