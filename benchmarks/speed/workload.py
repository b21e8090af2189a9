"""Queries with the same hits for all systems, and judgments on intents that no bundle was trained on; both from the demo."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.speed.systems.system import System
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
    """A query and its hits from the first stage, best first."""

    query: str
    products: list[Product]


class Unseen(NamedTuple):
    """Judgments of queries that no bundle was trained on, and the judged products by id."""

    judgments: list[Judgment]
    products: dict[str, Product]


def timed_queries(first_stage: FirstStage, count: int, hits: int) -> list[TimedQuery]:
    """Return queries with ``hits`` hits each, alternately judged queries and queries of the demo's log; the same in every run.

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
            f"Only {len(chosen):,} of the demo's queries find {hits:,} products; --queries is {count:,}.",
            hint="Lower --queries or --k.",
        )
    return list(chosen.values())


def unseen_judgments(first_stage: FirstStage, bundles: Sequence[Bundle]) -> Unseen:
    """Return the demo's judgments without the queries that a bundle was trained on.

    Raises:
        InputError: no remaining query can tell rankings apart.
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
    """Return the judgments of the first ``most`` queries that tell rankings apart, for ``--quick``."""
    told = [q.query for q in evaluate_rankings(unseen.judgments, unseen.products, {"any": lambda _, products: [0.0] * len(products)}).per_query][:most]
    return Unseen([judgment for judgment in unseen.judgments if judgment.query in told], unseen.products)


def measure_quality(unseen: Unseen, systems: Sequence[System]) -> Comparison | None:
    """Return nDCG@10 by query of every system with trained weights; None where there is none."""
    rankers = {system.name: system.quality for system in systems if system.no_quality is None}
    return evaluate_rankings(unseen.judgments, unseen.products, rankers) if rankers else None
