"""Augmentation composed: queries of every source, their variants, and each query's products."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from reranker.first_stage import FirstStage
from reranker.judgments import Judgment
from reranker.products import Product
from reranker.text import ProductTemplate
from reranker_distill.augmentation.candidates import Candidates, Similar
from reranker_distill.augmentation.catalogue_queries import catalogue_queries, mixed
from reranker_distill.augmentation.chooser import QueryChooser
from reranker_distill.augmentation.generated_queries import generated_queries
from reranker_distill.augmentation.spellings import Speller
from reranker_distill.pairs import Pair
from reranker_distill.recipe import Augmentation
from reranker_distill.splits import HeldOutGuard

_VARIED = ", "  # between where a query came from and how it was varied
_NAMED = 20  # queries without hits that the report names


def augment(
    *,
    judged: Sequence[Judgment],
    held_out: Sequence[Judgment],
    query_log: Sequence[tuple[str, int]],
    products: Mapping[str, Product],
    first_stage: FirstStage,
    settings: Augmentation,
    seed: int,
    similar: Similar | None = None,
    template: ProductTemplate | None = None,
    folder: Path | None = None,
    on_query: Callable[[], None] | None = None,
    report: dict[str, Any] | None = None,
) -> list[Pair]:
    """Return the pairs for the teacher to label: those judged for training, and unlabelled ones; each once, none held out.

    A query's pairs stand together: first the judged queries, then all others, both in a seeded shuffle. So the pairs of the
    first N queries are a smaller sample of the same mixture, whatever N.

    Args:
        judged: for training; ``held_out``: no query that rewords, narrows or misspells one of theirs is made.
        query_log: (query, count), most frequent first, as ``read_query_log`` returns it.
        similar: finds products by meaning, as ``embed_products`` returns it; None leaves such products out.
        template: how a product is shown to the language model, where the settings ask for one.
        folder: keeps the language model's answers, for a run that goes on.
        on_query: called for each query taken, variants included.
        report: receives ``queries_missing`` (asked for, but not to be had, by source) and ``queries_without_hits``
            (those for which the first stage finds nothing: how many, and the first of them).

    Source: arXiv 2505.07105, where the student's data is expanded far beyond the judged pairs.
    """
    rng = random.Random(seed)
    judged_queries = list(dict.fromkeys(j.query for j in judged))
    chooser = QueryChooser(first_stage, HeldOutGuard.of(held_out), judged_queries)
    queries: dict[str, str] = dict.fromkeys(judged_queries, "judged")
    missing: dict[str, int] = {}

    def take(candidates: Iterable[tuple[str, str]], wanted: int, name: str) -> None:
        taken = 0
        for query, source in chooser.choose(candidates, wanted):
            queries[query] = source
            taken += 1
            if on_query:
                on_query()
        if taken < wanted:
            missing[name] = wanted - taken

    if query_log:
        take(((query, "log") for query, _ in query_log), settings.log_queries, "log")
    written_for: dict[str, str] = {}
    if settings.llm_queries:
        with closing(generated_queries(products, settings, template=template or ProductTemplate(), seed=seed, folder=folder)) as written:
            take(_remembered(written, written_for), settings.llm_queries, "llm")
    if settings.catalogue_queries:
        made = catalogue_queries(products.values(), seed=rng.randrange(2**32))
        take(((query, f"catalogue {kind}") for query, kind in mixed(made, rng)), settings.catalogue_queries, "catalogue")
    originals = _variants(queries, settings.misspelt_share, chooser.guard, products, rng, on_query) if settings.misspelt_share else {}

    plain = [query for query in queries if query not in originals]
    deep = settings.top_products + settings.deeper_products + settings.hard_products + settings.similar_products
    nearest = dict(zip(plain, similar.nearest(plain, deep), strict=True)) if similar and settings.similar_products else {}
    candidates = Candidates(first_stage, list(products), plain, settings, rng, nearest)
    found: dict[str, dict[str, str]] = {query: {} for query in queries}
    for j in judged:
        if j.product_id in products:
            found[j.query][j.product_id] = "judged"
    without = []
    for query, chosen in found.items():
        if query in written_for:
            chosen[written_for[query]] = "its product"
        for product_id, way in candidates.of(query, originals.get(query)).items():
            chosen.setdefault(product_id, way)
        if not candidates.finds(query):
            without.append(query)
    if report is not None:
        report["queries_missing"] = missing
        report["queries_without_hits"] = {"number": len(without), "first": without[:_NAMED]}
    others = list(queries)[len(judged_queries) :]
    rng.shuffle(judged_queries)
    rng.shuffle(others)
    return [Pair(query, product_id, f"{queries[query]}/{way}") for query in judged_queries + others for product_id, way in found[query].items()]


def is_variant(source: str) -> bool:
    """Say whether a pair's source tells that its query varies another one."""
    return _VARIED in source.split("/")[0]


def _remembered(written: Iterable[tuple[str, str]], written_for: dict[str, str]) -> Iterable[tuple[str, str]]:
    for query, product_id in written:
        written_for.setdefault(query, product_id)
        yield query, "llm"


def _variants(
    queries: dict[str, str],
    share: float,
    guard: HeldOutGuard,
    products: Mapping[str, Product],
    rng: random.Random,
    on_query: Callable[[], None] | None,
) -> dict[str, str]:
    """Add variants to ``queries`` and return the original of each; none that the guard refuses."""
    speller = Speller(products.values())
    originals: dict[str, str] = {}
    left = round(share * len(queries))
    order = list(queries)
    rng.shuffle(order)
    for query in order:
        if left == 0:
            break
        made = speller.variant(query, rng, is_name=queries[query].endswith((" series", " model", " brand")))
        if made is None or made[0] in queries or guard.refuses(made[0]):
            continue
        text, how = made
        queries[text] = f"{queries[query]}{_VARIED}{how}"
        originals[text] = query
        left -= 1
        if on_query:
            on_query()
    return originals
