"""What a benchmark asks: the demo's queries with the same hits for all, and judgments on intents that no bundle was trained on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.speed.contenders.contender import Contender
from reranker.bundle import Bundle, Seen
from reranker.demo_data import demo_file
from reranker.errors import InputError
from reranker.evaluation import Comparison, evaluate_rankings
from reranker.evaluation.report import check_unseen, judged_products, seen_queries
from reranker.first_stage import FirstStage
from reranker.judgments import Judgment, load_judgments
from reranker.products import Product

_SEED = 13


class TimedQuery(NamedTuple):
    """A query and what the first stage finds for it, best first."""

    query: str
    products: list[Product]


class Unseen(NamedTuple):
    """Judgments of queries that no bundle was trained on, and the judged products by id."""

    judgments: list[Judgment]
    products: dict[str, Product]


def timed_queries(first_stage: FirstStage, count: int, hits: int) -> list[TimedQuery]:
    """Return queries that find ``hits`` products each: judged ones and ones from the demo's log by turns, the same in every run.

    Raises:
        InputError: the catalogue has fewer such queries than ``count``.
        FirstStageError: the first stage cannot answer.
    """
    judged = list(dict.fromkeys(judgment.query for judgment in load_judgments(demo_file("judgments.csv"))))
    logged = [line.split("\t")[0] for line in demo_file("queries.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    chance = random.Random(_SEED)
    sources = [iter(chance.sample(source, len(source))) for source in (judged, logged)]
    chosen: dict[str, TimedQuery] = {}
    while sources and len(chosen) < count:
        source = sources.pop(0)
        for query in source:
            if query not in chosen and len(found := first_stage.search(query, hits)) == hits:
                chosen[query] = TimedQuery(query, [hit.product for hit in found])
                sources.append(source)
                break
    if len(chosen) < count:
        raise InputError(
            f"Only {len(chosen):,} of the demo's queries find {hits:,} products; {count:,} were asked for.",
            hint="Ask for fewer with --queries, or a smaller --k.",
        )
    return list(chosen.values())


def unseen_judgments(first_stage: FirstStage, bundles: Sequence[Bundle]) -> Unseen:
    """Return the demo's judgments without the queries that any of the bundles was trained on.

    Raises:
        InputError: no query is left that tells rankings apart.
    """
    judgments = load_judgments(demo_file("judgments.csv"))
    products = judged_products(first_stage, judgments)
    known = [judgment for judgment in judgments if judgment.product_id in products]
    intents = [intent for bundle in bundles for intent in bundle.manifest.seen.intents]
    queries = [query for bundle in bundles for query in bundle.manifest.seen.queries]
    seen = seen_queries(known, Seen(intents=intents, queries=queries))
    left = [judgment for judgment in known if judgment.query not in seen]
    check_unseen(known, left)
    return Unseen(left, products)


def first_queries(unseen: Unseen, most: int) -> Unseen:
    """Return the judgments of the first ``most`` queries that tell rankings apart, for a quick look."""
    told = [q.query for q in evaluate_rankings(unseen.judgments, unseen.products, {"any": lambda _, products: [0.0] * len(products)}).per_query][:most]
    return Unseen([judgment for judgment in unseen.judgments if judgment.query in told], unseen.products)


def measure_quality(unseen: Unseen, contenders: Sequence[Contender]) -> Comparison | None:
    """Return nDCG@10 of every contender whose weights were trained, by query; None where there is none."""
    rankers = {contender.name: contender.quality for contender in contenders if contender.no_quality is None}
    return evaluate_rankings(unseen.judgments, unseen.products, rankers) if rankers else None
