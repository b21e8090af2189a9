"""The gate: what a bundle must show on held-out intents before it may serve, and which student of the variants is served."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reranker.evaluation import Comparison, evaluate_rankings
from reranker.evaluation.embedder import NAME as EMBEDDER
from reranker.evaluation.latency import measure_latency
from reranker.evaluation.picture import draw
from reranker.evaluation.report import evaluate
from reranker.first_stage import FirstStage
from reranker.products import Product
from reranker.reranker import Reranker
from reranker.search import TwoStageSearch
from reranker_distill.gate.evidence import Evidence
from reranker_distill.gate.loaded_variants import LoadedVariant, load_variant, pass_over, write_final
from reranker_distill.gate.neighbours import CATALOGUE_VECTORS, compute_ahead, with_neighbours
from reranker_distill.gate.rankers import load_rankers
from reranker_distill.gate.variants_picture import draw_variants
from reranker_distill.gate.verdict import Standing, choose, disagreement, refusals
from reranker_distill.pairs import LabelledPair, labelled_in
from reranker_distill.recipe import Recipe
from reranker_distill.splits import Split
from reranker_distill.stages import Stage
from reranker_distill.student_variants import Progress, TrainedVariant

HITS = 50
"""How many hits the latency budget is for."""

_MOST_TIMED = 200

NOT_MEASURED = "not measured: no judgments"

PER_QUERY = "per-query.json"
"""nDCG@10 of each ranking on each held-out query, as the gate measured it: several runs' can be pooled."""


def pass_gate(
    recipe: Recipe,
    split: Split,
    products: Mapping[str, Product],
    made: Mapping[str, Stage],
    variants: list[TrainedVariant],
    *,
    first_stage: FirstStage,
    folder: Path,
    picture: Path,
    variants_picture: Path,
    say: Callable[[str], None],
    progress: Progress,
    evidence: Evidence | None = None,
) -> dict[str, Any]:
    """Measure the teacher, each variant's student in each precision, BM25 and the off-the-shelf embedder on the held-out intents.

    A variant's precision was chosen by its export, on calibration pairs: the held-out queries only measure it, and pass it over
    for a more faithful one where it loses too much on them (``pass_over``). The student of [student], or with a budget the
    best within it, is the one ``chosen``; every variant's bundle is ``folder/bundles/NAME``. The chosen one's product vectors are
    computed ahead, ``folder/vectors``, and what they bring is measured beside; verdicts rest on products read by themselves, as
    new ones are. Where there are no judgments, no nDCG is measured, and report and card say so (``not_measured``): what is
    checked is latency, and that each student orders labelled pairs as its fp32 form does. Where nothing is held out,
    ``evidence`` stands for what would be measured: the gate judges by it, passes over a precision that it does not know, and
    report and card say so (``cross_validated``).

    Returns:
        The measurements, and under ``refused`` why no bundle may serve (empty: it may).
    """
    labelled = labelled_in(made["labels"].folder)
    loaded = [load_variant(variant, recipe, split, made, labelled, products, folder) for variant in variants]
    measured: Comparison | None = None
    ndcg: dict[str, float] = {}
    absent: dict[str, str] = {}
    if split.held_out:
        rankers, absent = load_rankers(recipe, made, loaded, products, first_stage, folder.parent / "pretrained")
        for name, why in absent.items():
            say(f"  [yellow]{name} is not compared: {why}[/]")
        measured = evaluate_rankings(split.held_out, products, rankers)
        ndcg = {name: measured.mean(name) for name in rankers}
        say(f"  nDCG@10 on {measured.queries} queries of held-out intents: " + ", ".join(f"{name} {value:.3f}" for name, value in ndcg.items()))
    elif evidence:
        of_variants = [
            name for variant in loaded for name in (*(f"{variant.name}_{precision}" for precision in variant.students), with_neighbours(variant.name))
        ]
        measured = evidence.of(["bm25", "teacher", "committee", EMBEDDER, *of_variants])
        ndcg = {name: measured.mean(name) for name in measured.rankings}
        say(f"  nDCG@10 on {measured.queries} queries, as {', '.join(evidence.runs)} measured: " + ", ".join(f"{name} {ndcg[name]:.3f}" for name in ndcg))
    else:
        say(f"  [yellow]nDCG@10 is {NOT_MEASURED}; agreement with fp32 and latency are[/]")

    if measured:
        exported, loaded = loaded, pass_over(loaded, ndcg, recipe.gate.max_loss)
        for before, variant in zip(exported, loaded, strict=True):
            if variant.precision != before.precision:
                whose = f", its own or that of {variant.read_with}," if variant.read_with else ""
                or_unknown = ", or was not measured by every run" if evidence else ""
                say(
                    f"  {variant.name} is served in {variant.precision}: {before.precision}{whose} loses more than {recipe.gate.max_loss:g} to fp32{or_unknown}"
                )
    queries = _timed_queries(first_stage, split, labelled)
    standings: list[Standing] = []
    bm25_ms = 0.0
    for variant in loaded:
        standing, bm25_ms = _stand(variant, recipe, measured, ndcg, first_stage, queries)
        standings.append(standing)
        quality = f"nDCG@10 {standing.ndcg:.3f}, " if measured else f"agreement with fp32 {variant.fp32_agreement:.4f}, "
        say(f"  {standing.variant}: {quality}{standing.p50_ms:.1f} ms for {HITS} hits, {standing.megabytes} MB, {variant.precision}")
    chosen, refused = choose(standings, recipe.gate.budget_ms, recipe.gate.ship)
    shown = chosen or next(standing for standing in standings if standing.variant == recipe.gate.ship)
    variant = loaded[standings.index(shown)]
    leaning = compute_ahead(variant, loaded, products, recipe.vectors, folder / CATALOGUE_VECTORS, progress)
    if measured and split.held_out:
        if leaning:
            measured = measured.beside(evaluate_rankings(split.held_out, products, {name: student.score for name, student in leaning.items()}))
            ndcg = {name: measured.mean(name) for name in measured.rankings}
            say("  with the catalogue's vectors: " + ", ".join(f"{name} {ndcg[name]:.3f}" for name in leaning))
        (folder / PER_QUERY).write_text(json.dumps([scores._asdict() for scores in measured.per_query], indent=1), encoding="utf-8")
    common = {
        "queries": measured.queries if measured else 0,
        **({"intents": measured.intents} if measured else {}),
        "ndcg@10": {name: round(value, 4) for name, value in ndcg.items()},
        "interval": {name: _rounded(measured.interval(name)) for name in ndcg} if measured else {},
        "absent": absent,
        "variants": [standing.as_dict() for standing in standings],
        "budget_ms": recipe.gate.budget_ms,
        **({} if measured else {"not_measured": NOT_MEASURED}),
        **({"cross_validated": list(evidence.runs)} if evidence else {}),
    }
    for own, standing in zip(loaded, standings, strict=True):
        write_final(own, folder / "bundles" / own.name, {**common, **_of_variant(measured, own, standing), "refused": standing.refused})
    if measured and len(standings) > 1:
        draw_variants(standings, measured, bm25_ms, recipe.gate.budget_ms, variants_picture)
    if split.held_out:
        say("  drawing what the bundle does on them")
        student = Reranker.load(folder / "bundles" / shown.variant)
        student.use_vectors(folder / CATALOGUE_VECTORS)
        draw(evaluate(first_stage, student, split.held_out), picture)
    return {**common, "chosen": shown.variant, **_of_variant(measured, variant, shown), "refused": refused}


def _stand(
    variant: LoadedVariant, recipe: Recipe, measured: Comparison | None, ndcg: Mapping[str, float], first_stage: FirstStage, queries: Sequence[str]
) -> tuple[Standing, float]:
    """Time a variant, and return where it stands; and the milliseconds of BM25 alone, p50."""
    search = TwoStageSearch(first_stage, variant.chosen, k=HITS)
    unknown = None
    if variant.chosen.keeps_vectors:
        unknown = round(measure_latency(search, queries, HITS, new_products=True)["rerank"].p50, 2)
    times = measure_latency(search, queries, HITS)
    rerank = times["rerank"]
    name = f"{variant.name}_{variant.precision}"
    standing = Standing(
        variant=variant.name,
        ranking=name,
        interval=measured.interval(name) if measured else None,
        p50_ms=round(rerank.p50, 2),
        p95_ms=round(rerank.p95, 2),
        samples=rerank.samples,
        megabytes=round(variant.megabytes, 1),
        p50_unknown_ms=unknown,
        refused=refusals(ndcg, name, f"{variant.name}_fp32", recipe.gate) if measured else disagreement(variant.fp32_agreement, recipe.gate),
    )
    return standing, times["first_stage"].p50


def _of_variant(measured: Comparison | None, variant: LoadedVariant, standing: Standing) -> dict[str, Any]:
    """Return what is told of one student, with paired intervals of its differences."""
    leaning = with_neighbours(standing.variant)
    others = ["bm25", EMBEDDER, "teacher", "committee"]
    return {
        "ranking": standing.ranking,
        "precision": variant.precision,
        "teacher_agreement": variant.agreement,
        "fp32_agreement": variant.fp32_agreement,
        **({"with_neighbours": leaning} if measured and leaning in measured.rankings else {}),
        "difference": {
            **_differences(measured, standing.variant, standing.ranking, [*others, f"{standing.variant}_fp32"]),
            **_differences(measured, leaning, leaning, [*others, standing.ranking]),
        },
        "latency_ms": {"hits": HITS, "p50": standing.p50_ms, "p95": standing.p95_ms, "samples": standing.samples}
        | ({"p50_unknown": standing.p50_unknown_ms} if standing.p50_unknown_ms is not None else {}),
    }


def _differences(measured: Comparison | None, told: str, ranking: str, compared: Sequence[str]) -> dict[str, Any]:
    """Return a ranking's differences from others, as ``<told>-<other>``; those of rankings that were measured."""
    if not measured or ranking not in measured.rankings:
        return {}
    return {
        f"{told}-{base}": {
            "mean": round(measured.difference(ranking, base).mean, 6),
            "interval": _rounded(measured.difference(ranking, base)),
            **measured.record(ranking, base)._asdict(),
        }
        for base in compared
        if base in measured.rankings and base != ranking
    }


def _timed_queries(first_stage: FirstStage, split: Split, labelled: Sequence[LabelledPair]) -> list[str]:
    """Return queries that find ``HITS`` products, the judged ones (their judgments are not looked at) or the first labelled ones; all where none does."""
    judged = [j.query for j in [*split.held_out, *split.train]]
    queries = list(dict.fromkeys(judged or [pair.query for pair in labelled]))[:_MOST_TIMED]
    full = [query for query in queries if len(first_stage.search(query, HITS)) == HITS]
    return full or queries


def _rounded(interval: Any) -> list[float]:
    return [round(interval.low, 4), round(interval.high, 4)]
