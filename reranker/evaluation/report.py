"""Measures BM25, the reranker and an off-the-shelf embedder on one set of judgments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from reranker.bundle import Bundle, Seen
from reranker.errors import InputError, JudgmentError
from reranker.evaluation.bootstrap import Interval
from reranker.evaluation.comparison import Comparison, Ranker, distinguishes_rankings, evaluate_rankings
from reranker.evaluation.embedder import NAME as EMBEDDER
from reranker.evaluation.embedder import load_embedder
from reranker.evaluation.latency import Latency, measure_stages
from reranker.first_stage import FirstStage
from reranker.judgments import Judgment
from reranker.products import Product
from reranker.reranker import Reranker
from reranker.search import DEFAULT_K, TwoStageSearch

_NAMED = 5
_FEW_QUERIES = 10


@dataclass(frozen=True)
class LeftOut:
    """What the figures do not include.

    ``seen``: queries that the bundle was trained on · ``indistinct``: queries whose judgments cannot distinguish rankings ·
    ``unknown_products``: judgments, as (query, product id), of products that are not in the catalogue.
    """

    seen: list[str]
    indistinct: list[str]
    unknown_products: list[tuple[str, str]]


@dataclass(frozen=True)
class Evaluation:
    """What ``reranker evaluate`` reports.

    ``absent``: why a ranking is missing.
    """

    comparison: Comparison
    latency: dict[str, Latency]
    left_out: LeftOut
    absent: dict[str, str]
    warnings: list[str]
    bundle: Bundle
    first_stage: str
    products: int
    k: int

    @property
    def bases(self) -> list[str]:
        """The rankings that the reranker is compared with."""
        return [name for name in self.comparison.rankings if name != "reranker"]

    def as_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints: nDCG@10 and differences with 95 % intervals, times in milliseconds."""
        compared = self.comparison
        return {
            "queries": compared.queries,
            "intents": compared.intents,
            "left_out": {
                "seen_queries": len(self.left_out.seen),
                "indistinct_queries": len(self.left_out.indistinct),
                "unknown_products": len(self.left_out.unknown_products),
                "unknown_examples": [{"query": query, "product_id": product_id} for query, product_id in self.left_out.unknown_products[:_NAMED]],
            },
            "ndcg@10": {name: _interval(compared.interval(name)) for name in compared.rankings},
            "difference": {
                f"reranker-{base}": {**_interval(compared.difference("reranker", base)), **compared.record("reranker", base)._asdict()} for base in self.bases
            },
            "absent": self.absent,
            "per_query": [
                {"query": q.query, "intent": q.intent, "judged": q.judged, **{name: round(value, 6) for name, value in q.ndcg.items()}}
                for q in compared.per_query
            ],
            "latency_ms": {
                stage: {name: value if name == "samples" else round(value, 3) for name, value in times._asdict().items()}
                for stage, times in self.latency.items()
            },
            "k": self.k,
            "first_stage": {"name": self.first_stage, "products": self.products},
            "bundle": {"name": self.bundle.manifest.name, "version": self.bundle.version},
            "warnings": self.warnings,
        }


def evaluate(
    first_stage: FirstStage,
    reranker: Reranker,
    judgments: Sequence[Judgment],
    *,
    k: int = DEFAULT_K,
    include_seen: bool = False,
    embedder: bool = True,
    say: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Compare the reranker with BM25, and with the off-the-shelf embedder if it can be loaded.

    Args:
        k: number of hits to rerank in the latency measurement.
        include_seen: also use queries that the bundle was trained on; the report then has a warning.
        embedder: False leaves the off-the-shelf embedder out.
        say: called with the present step, for progress.

    Raises:
        JudgmentError: the judgments do not fit the catalogue, or cannot distinguish rankings for any query.
        InputError: no query is left that the bundle was not trained on.
        FirstStageError: the first stage cannot answer.
    """
    say("Looking up the judged products")
    products = judged_products(first_stage, judgments)
    unknown = [(j.query, j.product_id) for j in judgments if j.product_id not in products]
    _check_unknown(unknown, len(judgments), first_stage.count())
    known = [j for j in judgments if j.product_id in products]

    warnings = []
    seen = seen_queries(known, reranker.bundle.manifest.seen)
    if seen and include_seen:
        warnings.append(f"{len(seen)} of the queries were used in the bundle's training: the figures are too good.")
        seen = set()
    used = [j for j in known if j.query not in seen]
    check_unseen(known, used)

    rankers: dict[str, Ranker] = {"bm25": bm25_ranker(first_stage), "reranker": reranker.score}
    absent = {}
    if embedder:
        say("Loading the off-the-shelf embedder")
        loaded = load_embedder(reranker.template)
        if isinstance(loaded, str):
            absent[EMBEDDER] = loaded
        else:
            rankers[EMBEDDER] = loaded
    else:
        absent[EMBEDDER] = "left out by --no-embedder"
    say("Ranking the judged products of each query")
    comparison = evaluate_rankings(used, products, rankers)
    if comparison.queries < _FEW_QUERIES:
        warnings.append(f"Only {comparison.queries} queries are left: too few to conclude from.")

    say("Measuring latency")
    search, queries = TwoStageSearch(first_stage, reranker, k=k), [j.query for j in judgments]
    latency = measure_stages(search, queries, k)
    left_out = LeftOut(sorted(seen), comparison.indistinct, unknown)
    return Evaluation(comparison, latency, left_out, absent, warnings, reranker.bundle, first_stage.name, first_stage.count(), k)


def bm25_ranker(first_stage: FirstStage) -> Ranker:
    """Return BM25 as a ranker: products without a word of the query score 0."""

    def scores(query: str, products: list[Product]) -> list[float]:
        product_ids = [str(product["id"]) for product in products]
        found = first_stage.score(query, product_ids)
        return [found.get(product_id, 0.0) for product_id in product_ids]

    return scores


def judged_products(first_stage: FirstStage, judgments: Sequence[Judgment]) -> dict[str, Product]:
    """Return the judged products by id; those that are not in the catalogue are left out."""
    wanted = list(dict.fromkeys(j.product_id for j in judgments))
    found: dict[str, Product] = {}
    for start in range(0, len(wanted), 500):
        found.update(first_stage.get(wanted[start : start + 500]))
    return found


def _check_unknown(unknown: list[tuple[str, str]], judged: int, in_catalogue: int) -> None:
    if 2 * len(unknown) <= judged:
        return
    named = "; ".join(f"product {product_id} for '{query}'" for query, product_id in unknown[:_NAMED])
    more = " …" if len(unknown) > _NAMED else ""
    raise JudgmentError(
        f"{len(unknown):,} of {judged:,} judgments are of products that are not among the {in_catalogue:,} of the catalogue: {named}{more}",
        hint="Do judgments and catalogue belong together?",
    )


def check_unseen(known: Sequence[Judgment], used: Sequence[Judgment]) -> None:
    """Raise InputError if every query that can distinguish rankings was used in training, and so is not in ``used``."""
    if not _distinct(used) and (lost := _distinct(known)):
        raise InputError(
            f"The bundle was trained on all {lost} judged queries that can distinguish rankings, so they cannot measure it on unseen ones.",
            hint="Judge other queries, or include these with --include-seen.",
        )


def _distinct(judgments: Sequence[Judgment]) -> int:
    ratings: dict[str, list[int]] = {}
    for judgment in judgments:
        ratings.setdefault(judgment.query, []).append(judgment.rating)
    return sum(distinguishes_rankings(graded) for graded in ratings.values())


def seen_queries(judgments: Sequence[Judgment], seen: Seen) -> set[str]:
    """Return the queries that the bundle was trained on, by their text or their intent; case and whitespace are ignored."""
    names = {_folded(name) for name in [*seen.intents, *seen.queries]}
    return {j.query for j in judgments if _folded(j.query) in names or _folded(j.intent) in names}


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _interval(interval: Interval) -> dict[str, Any]:
    return {"mean": round(interval.mean, 6), "interval": [round(interval.low, 6), round(interval.high, 6)]}
