"""What the teacher is given to label: real, answerable queries with products from all depths, none of them held out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from distill.augmentation import augment, catalogue_queries, read_query_log
from distill.recipe import Augmentation
from distill.splits import HeldOutGuard, split_by_intent
from reranker.demo_data import demo_file
from reranker.embedded import open_or_build
from reranker.errors import RecipeError
from reranker.judgments import load_judgments
from reranker.products import read_catalog

SETTINGS = Augmentation(log_queries=60, catalogue_queries=60, top_products=4, deeper_products=4, random_products=2)


@pytest.fixture(scope="module")
def products():
    return {p["id"]: p for p in read_catalog(demo_file("products.jsonl.gz"))}


@pytest.fixture(scope="module")
def split():
    return split_by_intent(load_judgments(demo_file("judgments.csv")), folds=3, held_out_fold=0, seed=13)


@pytest.fixture(scope="module")
def pairs(products, split, tmp_path_factory):
    return augment(
        judged=split.train,
        held_out=split.held_out,
        query_log=read_query_log(demo_file("queries.tsv")),
        products=products,
        first_stage=open_or_build(tmp_path_factory.mktemp("home") / "index", None, quiet=True),
        settings=SETTINGS,
        seed=1,
    )


def test_no_pair_is_of_a_held_out_intent(pairs, split) -> None:
    guard = HeldOutGuard(split.held_out)
    judged = {j.query for j in split.train}
    assert not [p.query for p in pairs if p.query not in judged and guard.refuses(p.query)]
    assert not {j.query for j in split.held_out} & {p.query for p in pairs}


def test_every_pair_is_there_once_and_says_where_it_came_from(pairs, products) -> None:
    assert max(Counter((p.query, p.product_id) for p in pairs).values()) == 1
    assert all(p.product_id in products for p in pairs)
    assert {p.source.split("/")[0].split()[0] for p in pairs} == {"judged", "log", "catalogue"}
    assert all(p.source.split("/")[1].split()[0] in ("judged", "rank", "random") for p in pairs)


def test_the_recipe_s_numbers_are_kept(pairs) -> None:
    from_log = {p.query for p in pairs if p.source.startswith("log/")}
    assert len(from_log) == SETTINGS.log_queries
    for query in list(from_log)[:20]:
        assert sum(p.query == query for p in pairs) <= 10


def test_machine_made_filler_is_left_out(pairs) -> None:
    log_queries = {p.query for p in pairs if p.source.startswith("log/")}
    assert not {q for q in log_queries if "vortals" in q or "synergi" in q or "holísticas" in q}
    assert {"screen", "phone"} <= log_queries


def test_catalogue_queries_are_words_a_shopper_might_type() -> None:
    shop = [{"id": str(i), "title": f"ACME X{i} laser printer 1200 dpi", "brand": "ACME", "attributes": {"type": "Laser"}} for i in range(4)]
    found = dict(catalogue_queries(shop))
    assert found["laser printer"] == "words"
    assert found["acme laser"] in ("brand type", "brand words")
    assert not [q for q in found if any(c.isdigit() for c in q)]


def test_a_query_log_without_its_head_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "log.tsv"
    log.write_text("laptop\t3\n")
    with pytest.raises(RecipeError, match="query<TAB>count"):
        read_query_log(log)
    log.write_text("query\tcount\nlaptop\t3\nmouse\tmany\n")
    with pytest.raises(RecipeError, match="Line 3"):
        read_query_log(log)
