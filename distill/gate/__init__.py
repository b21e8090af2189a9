"""The gate: what a bundle must show on held-out intents before it may serve, and which student of the ladder is served."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from distill.gate.evidence import Evidence
from distill.gate.ladder_picture import draw_ladder
from distill.gate.neighbours import CATALOGUE_VECTORS, compute_ahead, with_neighbours
from distill.gate.rankers import load_rankers
from distill.gate.rungs import LoadedRung, load_rung, pass_over, write_final
from distill.gate.verdict import Standing, choose, disagreement, refusals
from distill.ladder import MadeRung, Progress
from distill.pairs import LabelledPair, labelled_in
from distill.recipe import Recipe
from distill.splits import Split
from distill.stages import Stage
from reranker.evaluation import Comparison, evaluate_rankings
from reranker.evaluation.embedder import NAME as EMBEDDER
from reranker.evaluation.latency import measure_latency
from reranker.evaluation.picture import draw
from reranker.evaluation.report import evaluate
from reranker.first_stage import FirstStage
from reranker.products import Product
from reranker.search import TwoStageSearch
from reranker.student import Reranker

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
    rungs: list[MadeRung],
    *,
    first_stage: FirstStage,
    folder: Path,
    picture: Path,
    ladder_picture: Path,
    say: Callable[[str], None],
    progress: Progress,
    evidence: Evidence | None = None,
) -> dict[str, Any]:
    """Measure the teacher, each rung's student in each precision, BM25 and the off-the-shelf embedder on the held-out intents.

    A rung's precision was chosen by its export, on calibration pairs: the held-out queries only measure it, and pass it over
    for a more faithful one where it loses too much on them (``pass_over``). The student of [student], or with a budget the
    best within it, is the one ``chosen``; every rung's bundle is ``folder/bundles/NAME``. The chosen one's product vectors are
    computed ahead, ``folder/vectors``, and what they bring is measured beside; verdicts rest on products read by themselves, as
    new ones are. Where there are no judgments, no nDCG is measured, and report and card say so (``not_measured``): what is
    checked is latency, and that each student orders labelled pairs as its fp32 form does. Where nothing is held out,
    ``evidence`` stands for what would be measured: the gate judges by it, passes over a precision that it does not know, and
    report and card say so (``cross_validated``).

    Returns:
        The measurements, and under ``refused`` why no bundle may serve (empty: it may).
    """
    labelled = labelled_in(made["labels"].folder)
    loaded = [load_rung(rung, recipe, split, made, labelled, products, folder) for rung in rungs]
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
        of_rungs = [name for rung in loaded for name in (*(f"{rung.name}_{precision}" for precision in rung.students), with_neighbours(rung.name))]
        measured = evidence.of(["bm25", "teacher", "committee", EMBEDDER, *of_rungs])
        ndcg = {name: measured.mean(name) for name in measured.rankings}
        say(f"  nDCG@10 on {measured.queries} queries, as {', '.join(evidence.runs)} measured: " + ", ".join(f"{name} {ndcg[name]:.3f}" for name in ndcg))
    else:
        say(f"  [yellow]nDCG@10 is {NOT_MEASURED}; agreement with fp32 and latency are[/]")

    if measured:
        exported, loaded = loaded, pass_over(loaded, ndcg, recipe.gate.max_loss)
        for before, rung in zip(exported, loaded, strict=True):
            if rung.precision != before.precision:
                whose = f", its own or that of {rung.read_with}," if rung.read_with else ""
                or_unknown = ", or was not measured by every run" if evidence else ""
                say(f"  {rung.name} is served in {rung.precision}: {before.precision}{whose} loses more than {recipe.gate.max_loss:g} to fp32{or_unknown}")
    queries = _timed_queries(first_stage, split, labelled)
    ladder: list[Standing] = []
    bm25_ms = 0.0
    for rung in loaded:
        standing, bm25_ms = _stand(rung, recipe, measured, ndcg, first_stage, queries)
        ladder.append(standing)
        quality = f"nDCG@10 {standing.ndcg:.3f}, " if measured else f"agreement with fp32 {rung.fp32_agreement:.4f}, "
        say(f"  {standing.rung}: {quality}{standing.p50_ms:.1f} ms for {HITS} hits, {standing.megabytes} MB, {rung.precision}")
    chosen, refused = choose(ladder, recipe.gate.budget_ms, recipe.gate.ship)
    shown = chosen or next(standing for standing in ladder if standing.rung == recipe.gate.ship)
    rung = loaded[ladder.index(shown)]
    leaning = compute_ahead(rung, loaded, products, recipe.vectors, folder / CATALOGUE_VECTORS, progress)
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
        "ladder": [standing.as_dict() for standing in ladder],
        "budget_ms": recipe.gate.budget_ms,
        **({} if measured else {"not_measured": NOT_MEASURED}),
        **({"cross_validated": list(evidence.runs)} if evidence else {}),
    }
    for own, standing in zip(loaded, ladder, strict=True):
        write_final(own, folder / "bundles" / own.name, {**common, **_of_rung(measured, own, standing), "refused": standing.refused})
    if measured and len(ladder) > 1:
        draw_ladder(ladder, measured, bm25_ms, recipe.gate.budget_ms, ladder_picture)
    if split.held_out:
        say("  drawing what the bundle does on them")
        student = Reranker.load(folder / "bundles" / shown.rung)
        student.use_vectors(folder / CATALOGUE_VECTORS)
        draw(evaluate(first_stage, student, split.held_out), picture)
    return {**common, "chosen": shown.rung, **_of_rung(measured, rung, shown), "refused": refused}


def _stand(
    rung: LoadedRung, recipe: Recipe, measured: Comparison | None, ndcg: Mapping[str, float], first_stage: FirstStage, queries: Sequence[str]
) -> tuple[Standing, float]:
    """Time a rung, and return where it stands; and the milliseconds of BM25 alone, p50."""
    search = TwoStageSearch(first_stage, rung.chosen, k=HITS)
    unknown = None
    if rung.chosen.keeps_vectors:
        unknown = round(measure_latency(search, queries, HITS, forget=True)["rerank"].p50, 2)
    times = measure_latency(search, queries, HITS)
    rerank = times["rerank"]
    name = f"{rung.name}_{rung.precision}"
    standing = Standing(
        rung=rung.name,
        ranking=name,
        interval=measured.interval(name) if measured else None,
        p50_ms=round(rerank.p50, 2),
        p95_ms=round(rerank.p95, 2),
        samples=rerank.samples,
        megabytes=round(rung.megabytes, 1),
        p50_unknown_ms=unknown,
        refused=refusals(ndcg, name, f"{rung.name}_fp32", recipe.gate) if measured else disagreement(rung.fp32_agreement, recipe.gate),
    )
    return standing, times["first_stage"].p50


def _of_rung(measured: Comparison | None, rung: LoadedRung, standing: Standing) -> dict[str, Any]:
    """Return what is told of one student, with paired intervals of its differences."""
    leaning = with_neighbours(standing.rung)
    others = ["bm25", EMBEDDER, "teacher", "committee"]
    return {
        "ranking": standing.ranking,
        "precision": rung.precision,
        "teacher_agreement": rung.agreement,
        "fp32_agreement": rung.fp32_agreement,
        **({"with_neighbours": leaning} if measured and leaning in measured.rankings else {}),
        "difference": {
            **_differences(measured, standing.rung, standing.ranking, [*others, f"{standing.rung}_fp32"]),
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
