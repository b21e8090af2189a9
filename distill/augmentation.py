"""Augmentation: unlabelled (query, product) pairs for the teacher to label.

Queries come from the search log and from the catalogue's own words; products from the first stage and at random.
Source: arXiv 2505.07105, where the student's data is expanded far beyond the judged pairs.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from distill.pairs import Pair
from distill.recipe import Augmentation
from distill.splits import HeldOutGuard
from reranker.analysis import tokens
from reranker.embedded import field_text
from reranker.errors import InputError, RecipeError
from reranker.first_stage import FIELD_BOOSTS, FirstStage, check_query
from reranker.judgments import Judgment
from reranker.products import Product, open_text
from reranker.text import clean

MIN_HITS = 4  # a query that finds fewer products teaches no ranking


def read_query_log(path: Path) -> list[tuple[str, int]]:
    """Return (query, count) of a tab-separated log with the columns ``query`` and ``count``, most frequent first.

    Raises:
        RecipeError: the columns are missing, or a line does not fit them.
    """
    with open_text(path) as lines:
        if next(lines, "").rstrip("\n").split("\t")[:2] != ["query", "count"]:
            raise RecipeError(f"The query log {path} does not begin with 'query<TAB>count'.", hint="Write that as its first line.")
        log = []
        for number, line in enumerate(lines, start=2):
            if not line.strip():
                continue
            query, _, count = line.rstrip("\n").partition("\t")
            if not count.split("\t")[0].isdigit():
                raise RecipeError(f"Line {number:,} of the query log {path} has no count.", hint="Each line is query<TAB>count.")
            log.append((query, int(count.split("\t")[0])))
    return sorted(log, key=lambda entry: -entry[1])


def catalogue_queries(products: Iterable[Product], *, min_products: int = 3) -> list[tuple[str, str]]:
    """Return (query, kind) made from the catalogue, most widely met first.

    Kinds: ``type`` (a type attribute's value), ``brand type``, ``words`` (runs of one to three title words without
    digits or brand), ``brand words`` (a brand before such a run). Each is met in at least ``min_products`` products.
    """
    met: dict[str, Counter[str]] = defaultdict(Counter)
    for product in products:
        brand = clean(str(product.get("brand") or "")).lower()
        types = {
            clean(value).lower() for name, value in (product.get("attributes") or {}).items() if name in ("type", "product_type") and isinstance(value, str)
        }
        for value in types:
            if _speakable(value.split()):
                met["type"][value] += 1
                if brand:
                    met["brand type"][f"{brand} {value}"] += 1
        words = [w.strip(".,;:()[]®™\"'") for w in clean(str(product["title"])).lower().split()]
        words = [w if w not in brand.split() else "" for w in words]
        runs = {tuple(words[i : i + n]) for n in (1, 2, 3) for i in range(len(words) - n + 1)}
        for run in runs:
            if _speakable(run):
                met["words"][" ".join(run)] += 1
                if brand and len(run) < 3:
                    met["brand words"][f"{brand} {' '.join(run)}"] += 1
    found = [(count, query, kind) for kind, counts in met.items() for query, count in counts.items() if count >= min_products]
    return [(query, kind) for _, query, kind in sorted(found, key=lambda f: (-f[0], f[1], f[2]))]


def _speakable(words: Sequence[str]) -> bool:
    return 0 < len(words) <= 4 and all(len(w) > 1 and w.replace("-", "").isalpha() for w in words) and any(True for w in words for _ in tokens(w))


class _Chooser:
    """Takes queries that the catalogue can answer, each kind of wording once, and none of a held-out intent."""

    def __init__(self, first_stage: FirstStage, guard: HeldOutGuard, taken: Iterable[str]) -> None:
        self._first_stage = first_stage
        self._guard = guard
        self._taken = {frozenset(tokens(query)) for query in taken}

    def takes(self, query: str) -> bool:
        words = frozenset(tokens(query))
        if not words or words in self._taken or self._guard.refuses(query):
            return False
        try:
            hits = self._first_stage.search(check_query(query), MIN_HITS)
        except InputError:
            return False
        # Filler such as "synthesize collaborative vortals" meets no product with all of its words.
        if len(hits) < MIN_HITS or not any(words <= set(tokens(" ".join(field_text(hit.product, field) for field in FIELD_BOOSTS))) for hit in hits):
            return False
        self._taken.add(words)
        return True


def augment(
    *,
    judged: Sequence[Judgment],
    held_out: Sequence[Judgment],
    query_log: Sequence[tuple[str, int]],
    products: Mapping[str, Product],
    first_stage: FirstStage,
    settings: Augmentation,
    seed: int,
    on_query: Callable[[], None] | None = None,
) -> list[Pair]:
    """Return the pairs for the teacher to label: those judged for training, and unlabelled ones; each once, none held out.

    Of each query's hits the first are all taken and deeper ones sampled, since the student reorders exactly those;
    random products teach it what is plainly wrong.
    """
    rng = random.Random(seed)
    guard = HeldOutGuard(held_out)
    judged_queries = list(dict.fromkeys(j.query for j in judged))
    chooser = _Chooser(first_stage, guard, judged_queries)
    queries: dict[str, str] = dict.fromkeys(judged_queries, "judged")
    from_log = [(query, "log") for query, _ in query_log]
    from_catalogue = [(query, f"catalogue {kind}") for query, kind in catalogue_queries(products.values())]
    for candidates, wanted in ((from_log, settings.log_queries), (_mixed(from_catalogue, rng), settings.catalogue_queries)):
        left = wanted
        for query, source in candidates:
            if left == 0:
                break
            if chooser.takes(query):
                queries[query] = source
                left -= 1
                if on_query:
                    on_query()
    ids = list(products)
    pairs: dict[tuple[str, str], str] = {(j.query, j.product_id): "judged/judged" for j in judged if j.product_id in products}
    for query, source in queries.items():
        hits = first_stage.search(check_query(query), settings.max_rank)
        deeper = hits[settings.top_products :]
        chosen = hits[: settings.top_products] + rng.sample(deeper, min(settings.deeper_products, len(deeper)))
        for hit in chosen:
            pairs.setdefault((query, hit.product_id), f"{source}/rank {hit.rank}")
        for product_id in rng.sample(ids, min(settings.random_products, len(ids))):
            pairs.setdefault((query, product_id), f"{source}/random")
    return [Pair(query, product_id, source) for (query, product_id), source in pairs.items()]


def _mixed(candidates: list[tuple[str, str]], rng: random.Random) -> list[tuple[str, str]]:
    """Deal kinds in turn, each from common to rare with some chance, so that no kind crowds out another."""
    kinds: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for query, kind in candidates:
        kinds[kind].append((query, kind))
    for entries in kinds.values():
        # Common wordings first, but not only those: rank i keeps its place up to a factor of e or so.
        keyed = [(i * rng.lognormvariate(0.0, 1.0), entry) for i, entry in enumerate(entries, start=1)]
        entries[:] = [entry for _, entry in sorted(keyed, key=lambda k: k[0])]
    longest = max((len(entries) for entries in kinds.values()), default=0)
    return [entries[i] for i in range(longest) for entries in kinds.values() if i < len(entries)]
