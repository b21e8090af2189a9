"""Queries made from a catalogue read like what shoppers type, not like titles."""

from __future__ import annotations

import random

import pytest

from reranker.demo_data import demo_file
from reranker.products import read_catalog
from reranker_distill.augmentation import catalogue_queries
from reranker_distill.augmentation.catalogue_queries import mix_kinds
from reranker_distill.augmentation.product_types import ProductTypes
from reranker_distill.augmentation.titles import shop_brand


@pytest.fixture(scope="module")
def products():
    return list(read_catalog(demo_file("products.jsonl.gz")))


@pytest.fixture(scope="module")
def demo(products) -> dict[str, str]:
    return dict(catalogue_queries(products))


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("notebook", "type"),
        ("toner cartridge", "type"),
        ("docking station", "type"),
        ("mouse", "type"),
        ("hard drive", "type"),
        ("headset", "type"),
        ("kensington", "brand"),
        ("hp toner cartridge", "brand type"),
        ("startech usb cable", "brand type"),
        ("black notebook", "attribute type"),
        ("laser printer", "attribute type"),
        ("8gb memory module", "attribute type"),
        ("10 ft vga cable", "attribute type"),
        ("elitebook", "series"),
        ("hp laserjet", "series"),
        ("toner for brother", "use"),
    ],
)
def test_the_demo_catalogue_brings_what_people_type(demo, query: str, kind: str) -> None:
    assert demo[query] == kind


@pytest.mark.parametrize(
    "query", ["original", "black", "original black", "pixels", "windows", "format printer", "supply unit", "type", "male", "cm", "premium", "hp"]
)
def test_words_that_name_no_product_are_no_type(demo, query: str) -> None:
    assert demo.get(query) != "type"
    assert query == "hp" or query not in demo


def test_no_kind_and_no_word_crowds_out_another(demo) -> None:
    chosen = mix_kinds(demo.items(), random.Random(1))[:600]
    kinds = [kind for _, kind in chosen]
    assert min(kinds.count(kind) for kind in ("type", "brand type", "attribute type", "series", "model")) > 50
    assert sum(query.endswith("cable") for query, _ in chosen) < 150
    assert all(len(query.split()) <= 7 for query, _ in chosen)


def test_a_small_shop_of_one_brand_has_types_too() -> None:
    shop = [{"id": str(i), "title": f"ACME X{i}0 laser printer 1200 dpi", "brand": "ACME", "attributes": {"type": "Laser printer"}} for i in range(4)]
    shop += [{"id": f"d{i}", "title": f"ACME D{i}0 drum for laser printers", "brand": "ACME"} for i in range(4)]
    found = dict(catalogue_queries(shop))
    assert found["laser printer"] == "type"
    assert found["acme laser printer"] == "brand type"


def test_a_product_is_what_its_title_ends_on_not_what_it_is_for(products) -> None:
    types = ProductTypes(products)
    filters = [p["id"] for p in products if "Privacy Filter for Notebooks" in p["title"]]
    assert filters
    assert all("notebook" not in types.of[i] and "notebooks" not in types.of[i] for i in filters)


@pytest.mark.parametrize(("brand", "typed"), [("StarTech.com", "startech"), ("Kingston Technology", "kingston"), ("HP", "hp"), ("Technology", "technology")])
def test_brands_as_shoppers_type_them(brand: str, typed: str) -> None:
    assert shop_brand(brand) == typed
