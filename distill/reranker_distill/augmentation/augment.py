"""Composes the augmentation: queries of every source, their misspellings, and each query's products."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from reranker.first_stage import FirstStage
from reranker.judgments import Judgment
from reranker.products import Product
from reranker_distill.augmentation.candidates import Candidates, NearestProducts
from reranker_distill.augmentation.catalogue_queries import catalogue_queries, mix_kinds
from reranker_distill.augmentation.query_filter import QueryFilter
from reranker_distill.augmentation.spellings import Speller
from reranker_distill.pairs import Pair
from reranker_distill.recipe import Augmentation
from reranker_distill.splits import HeldOutGuard

MISSPELT_SHARE = 0.1
"""Misspellings and other variants, by the number of queries they vary."""

_VARIED = ", "  # separates where a query came from and how it was varied
_LISTED = 20  # queries without hits that the report lists


def augment(
    *,
    judged: Sequence[Judgment],
    held_out: Sequence[Judgment],
    query_log: Sequence[tuple[str, int]],
    products: Mapping[str, Product],
    first_stage: FirstStage,
    settings: Augmentation,
    seed: int,
    nearest: NearestProducts | None = None,
    misspelt_share: float = MISSPELT_SHARE,
    on_query: Callable[[], None] | None = None,
    report: dict[str, Any] | None = None,
) -> list[Pair]:
    """Return the pairs for the teacher to label: judged ones for training, and unlabelled ones; each once, none held out.

    A query's pairs stand together: first the judged queries, then all others, both in a seeded shuffle. So the pairs of the
    first N queries are a smaller sample of the same mixture, whatever N.

    Args:
        judged: judgments for training.
        held_out: judgments of the gate; no query rewords, narrows or misspells one of theirs.
        query_log: (query, count), most frequent first, as ``read_query_log`` returns it.
        nearest: finds products by meaning; None leaves such products out.
        misspelt_share: variants of the queries, by their number.
        on_query: called for each query accepted, variants included.
        report: receives ``queries_missing`` (how many fewer than the settings want, by source) and ``queries_without_hits``
            (those for which the first stage finds nothing: how many, and the first ones).

    Source: arXiv 2505.07105, where the student's data is expanded far beyond the judged pairs.
    """
    rng = random.Random(seed)
    judged_queries = list(dict.fromkeys(j.query for j in judged))
    query_filter = QueryFilter(first_stage, HeldOutGuard.of(held_out), judged_queries)
    queries: dict[str, str] = dict.fromkeys(judged_queries, "judged")
    missing: dict[str, int] = {}

    def add(candidates: Iterable[tuple[str, str]], wanted: int, name: str) -> None:
        added = 0
        for query, source in query_filter.filter(candidates, wanted):
            queries[query] = source
            added += 1
            if on_query:
                on_query()
        if added < wanted:
            missing[name] = wanted - added

    if query_log:
        add(((query, "log") for query, _ in query_log), settings.log_queries, "log")
    if settings.catalogue_queries:
        from_catalogue = catalogue_queries(products.values(), seed=rng.randrange(2**32))
        add(((query, f"catalogue {kind}") for query, kind in mix_kinds(from_catalogue, rng)), settings.catalogue_queries, "catalogue")
    originals = _add_variants(queries, misspelt_share, query_filter.guard, products, rng, on_query) if misspelt_share else {}

    plain = [query for query in queries if query not in originals]
    mix = settings.mix
    similar = dict(zip(plain, nearest.nearest(plain, sum(mix[:4])), strict=True)) if nearest else {}
    candidates = Candidates(first_stage, list(products), plain, mix, rng, similar)
    found: dict[str, dict[str, str]] = {query: {} for query in queries}
    for j in judged:
        if j.product_id in products:
            found[j.query][j.product_id] = "judged"
    without = []
    for query, chosen in found.items():
        for product_id, how in candidates.of(query, originals.get(query)).items():
            chosen.setdefault(product_id, how)
        if not candidates.has_hits(query):
            without.append(query)
    if report is not None:
        report["queries_missing"] = missing
        report["queries_without_hits"] = {"number": len(without), "first": without[:_LISTED]}
    others = list(queries)[len(judged_queries) :]
    rng.shuffle(judged_queries)
    rng.shuffle(others)
    return [Pair(query, product_id, f"{queries[query]}/{how}") for query in judged_queries + others for product_id, how in found[query].items()]


def is_variant(source: str) -> bool:
    """Whether a pair's source says that its query varies another one."""
    return _VARIED in source.split("/")[0]


def _add_variants(
    queries: dict[str, str],
    share: float,
    guard: HeldOutGuard,
    products: Mapping[str, Product],
    rng: random.Random,
    on_query: Callable[[], None] | None,
) -> dict[str, str]:
    """Add variants that the guard allows to ``queries``, and return the original of each."""
    speller = Speller(products.values())
    originals: dict[str, str] = {}
    left = round(share * len(queries))
    order = list(queries)
    rng.shuffle(order)
    for query in order:
        if left == 0:
            break
        variant = speller.variant(query, rng, is_name=queries[query].endswith((" series", " model", " brand")))
        if variant is None or variant[0] in queries or guard.refuses(variant[0]):
            continue
        text, how = variant
        queries[text] = f"{queries[query]}{_VARIED}{how}"
        originals[text] = query
        left -= 1
        if on_query:
            on_query()
    return originals
