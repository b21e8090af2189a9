"""What the teacher is given to label: real, answerable queries with products from all depths, none of them held out."""

from __future__ import annotations

import random
from collections import Counter
from itertools import groupby
from pathlib import Path

import pytest

from reranker.demo_data import demo_file
from reranker.embedded import EmbeddedFirstStage, build_index
from reranker.errors import RecipeError
from reranker.judgments import Judgment, load_judgments
from reranker.products import read_catalog
from reranker_distill.augmentation import augment, query_texts, read_query_log
from reranker_distill.augmentation.candidates import Candidates
from reranker_distill.augmentation.spellings import Speller
from reranker_distill.recipe import Augmentation, CandidateMix
from reranker_distill.splits import HeldOutGuard, split_by_intent

SETTINGS = Augmentation(log_queries=60, catalogue_queries=120)


@pytest.fixture(scope="module")
def products():
    return {p["id"]: p for p in read_catalog(demo_file("products.jsonl.gz"))}


@pytest.fixture(scope="module")
def split():
    return split_by_intent(load_judgments(demo_file("judgments.csv")), folds=3, held_out_fold=0, seed=13)


@pytest.fixture(scope="module")
def first_stage(embedded_index: Path):
    return EmbeddedFirstStage(embedded_index)


class LastProducts:
    """Stands for the embedder: the same products are near to every query."""

    def __init__(self, products):
        self.ids = list(products)[-40:]

    def nearest(self, queries, k):
        return [self.ids[:k] for _ in queries]


def held_out_wordings(products, split) -> set[str]:
    """Held-out queries as they are, narrowed down, and as a shopper may mistype them."""
    speller, rng = Speller(products.values()), random.Random(5)
    wordings = set()
    for query in sorted({j.query for j in split.held_out}):
        wordings |= {query, query.upper(), f"cheap {query}", f"{query} for kids", query.replace(" ", ""), query.replace(" ", "-")}
        wordings |= {made[0] for _ in range(40) if (made := speller.variant(query, rng)) and made[1] not in ("short form", "unit")}
    return wordings


@pytest.fixture(scope="module")
def report():
    return {}


@pytest.fixture(scope="module")
def pairs(products, split, first_stage, report):
    bad = [(wording, 1_000) for wording in sorted(held_out_wordings(products, split))]
    return augment(
        judged=split.train,
        held_out=split.held_out,
        query_log=bad + read_query_log(demo_file("queries.tsv")),
        products=products,
        first_stage=first_stage,
        settings=SETTINGS,
        seed=1,
        nearest=LastProducts(products),
        misspelt_share=0.4,
        report=report,
    )


def test_no_pair_is_of_a_held_out_intent(pairs, products, split) -> None:
    assert len(held_out_wordings(products, split)) > 200
    assert not held_out_wordings(products, split) & {p.query for p in pairs}
    guard = HeldOutGuard.of(split.held_out)
    judged = {j.query for j in split.train}
    assert not [p.query for p in pairs if p.query not in judged and guard.refuses(p.query)]


def test_every_pair_is_there_once_and_says_where_it_came_from(pairs, products) -> None:
    assert max(Counter((p.query, p.product_id) for p in pairs).values()) == 1
    assert all(p.product_id in products for p in pairs)
    sources = {tuple(p.source.split("/")) for p in pairs}
    assert {query.split(", ")[0].split()[0] for query, _ in sources} == {"judged", "log", "catalogue"}
    assert {way.rstrip("0123456789 ") for _, way in sources} == {"judged", "rank", "original's rank", "hard word", "hard query", "similar", "random"}


def test_the_recipe_s_numbers_are_kept(pairs) -> None:
    plain = {p.query: p.source.split("/")[0] for p in pairs if ", " not in p.source}
    assert sum(source == "log" for source in plain.values()) == SETTINGS.log_queries
    assert sum(source.startswith("catalogue") for source in plain.values()) == SETTINGS.catalogue_queries
    assert len({p.query for p in pairs} - set(plain)) == round(0.4 * len(plain))
    ways = Counter((p.query, p.source.split("/")[1].rstrip("0123456789 ").split()[0]) for p in pairs if p.query in plain and plain[p.query] != "judged")
    assert max(n for (_, way), n in ways.items() if way == "rank") == SETTINGS.mix.top + SETTINGS.mix.deeper == 9
    assert {n for (_, way), n in ways.items() if way == "random"} == {1}
    assert {n for (_, way), n in ways.items() if way == "similar"} == {4}
    assert max(n for (_, way), n in ways.items() if way == "hard") == 2


def test_a_query_s_pairs_stand_together_judged_queries_first(pairs) -> None:
    order = [query for query, _ in groupby(pairs, key=lambda p: p.query)]
    assert len(order) == len(set(order))
    judged = [next(p.source for p in pairs if p.query == query).startswith("judged/") for query in order]
    assert judged == sorted(judged, reverse=True)
    rest = {p.query: p.source.split("/")[0] for p in pairs if not p.source.startswith("judged/")}
    first_half = list(rest.values())[: len(rest) // 2]
    for kind in ("log", "catalogue"):  # a prefix is a sample of the same mixture
        share = sum(s.startswith(kind) for s in rest.values()) / len(rest)
        assert abs(sum(s.startswith(kind) for s in first_half) / len(first_half) - share) < 0.15


def test_a_variant_gets_the_products_of_what_was_meant(pairs) -> None:
    variants = {p.query for p in pairs if ", misspelt/" in p.source}
    assert len(variants) > 10
    for query in variants:
        assert any(p.query == query and "original's rank" in p.source for p in pairs), query


def test_machine_made_filler_is_left_out(pairs) -> None:
    log_queries = {p.query for p in pairs if p.source.startswith("log/")}
    assert not {q for q in log_queries if "vortals" in q or "synergi" in q or "holísticas" in q}
    assert {"screen", "phone"} <= log_queries


def test_what_could_not_be_had_is_reported(pairs, report) -> None:
    assert report["queries_missing"] == {}
    assert report["queries_without_hits"]["number"] > 0  # some misspelling finds nothing
    for query in report["queries_without_hits"]["first"]:
        sources = [p.source.split("/")[1] for p in pairs if p.query == query]
        assert sources, "named, and labelled all the same"
        assert not [s for s in sources if s.startswith("rank")]


SHOP = [
    {"id": f"{brand}{i}", "title": f"{brand} X{i}0 {thing} {colour}", "brand": brand, "attributes": {"colour": colour}}
    for brand in ("Acme", "Globex")
    for thing in ("laser printer", "toner cartridge", "notebook")
    for i, colour in enumerate(("Black", "White", "Red", "Blue"), start={"laser printer": 1, "toner cartridge": 5, "notebook": 9}[thing])
]


def shop_pairs(tmp_path: Path, **changes: int):
    build_index(tmp_path / "index", SHOP)
    settings = Augmentation(**{"catalogue_queries": 30, **changes})
    report: dict = {}
    pairs = augment(
        judged=[Judgment("printer", "Acme1", 3, "printer", ())],
        held_out=[Judgment("notebook", "Acme9", 3, "notebook", ())],
        query_log=[("toner", 9), ("red toner", 5), ("monetise b2b vortals", 4), ("notebooks", 3), ("netobook", 2), ("mazagine", 1)],
        products={p["id"]: p for p in SHOP},
        first_stage=EmbeddedFirstStage(tmp_path / "index"),
        settings=settings,
        seed=3,
        misspelt_share=0.3,
        report=report,
    )
    return pairs, report


def test_the_same_seed_makes_the_same_pairs(tmp_path: Path) -> None:
    first, _ = shop_pairs(tmp_path)
    assert first == shop_pairs(tmp_path)[0]
    assert len(first) > 50


def test_fewer_queries_than_asked_for_are_reported(tmp_path: Path) -> None:
    pairs, report = shop_pairs(tmp_path, catalogue_queries=10_000)
    assert {p.query for p in pairs if p.source.startswith("log/")} == {"toner", "red toner"}
    assert report["queries_missing"]["log"] == Augmentation().log_queries - 2
    assert report["queries_missing"]["catalogue"] > 9_000


def test_near_misses_are_not_among_the_query_s_hits(tmp_path: Path) -> None:
    build_index(tmp_path / "index", SHOP)
    mix = CandidateMix(top=2, deeper=0, hard=4, similar=0, random=0, max_rank=2)
    chosen = Candidates(EmbeddedFirstStage(tmp_path / "index"), [p["id"] for p in SHOP], ["red toner", "toner"], mix, random.Random(3)).of("red toner")
    hard = {product_id for product_id, how in chosen.items() if how.startswith("hard")}
    assert hard
    assert not hard & {product_id for product_id, how in chosen.items() if how.startswith("rank")}


def test_a_query_log_without_its_head_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "log.tsv"
    log.write_text("laptop\t3\n")
    with pytest.raises(RecipeError, match="query<TAB>count"):
        read_query_log(log)
    log.write_text("query\tcount\nlaptop\t3\nmouse\tmany\n")
    with pytest.raises(RecipeError, match="Line 3"):
        read_query_log(log)


def test_query_texts_are_many_each_once_and_none_of_a_held_out_intent(products, split) -> None:
    bad = sorted(held_out_wordings(products, split))
    log = [("usb hub", 3), *((query, 1) for query in bad)]
    guard = HeldOutGuard.of(split.held_out)
    found = query_texts(list(products.values())[::3], log, guard, seed=3)
    assert len(found) == len(set(found)) > 10_000
    assert "usb hub" in found
    assert not {*bad} & set(found)
    few = list(products.values())[::60]
    assert query_texts(few, log, guard, seed=3) == query_texts(few, log, guard, seed=3)
