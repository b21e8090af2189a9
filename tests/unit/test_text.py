"""A product as text: what teacher and student read."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from reranker.text import ProductTemplate, clean

LAPTOP = {
    "id": "1",
    "title": "Acer Swift 3",
    "brand": "Acer",
    "description": 'A light\\nlaptop\x00 with  14" screen',
    "attributes": {"weight": "1.2 kg", "cores": 8, "touch": True, "colour": "silver", "empty": "", "note": "long " * 30, "family": "swift"},
}


def test_fields_come_in_order_and_repeated_ones_once() -> None:
    assert ProductTemplate(fields=("title", "brand", "description")).render(LAPTOP) == 'Acer Swift 3 | A light laptop with 14" screen'


def test_attributes_without_numbers_yes_no_and_long_values() -> None:
    text = ProductTemplate(fields=("title", "attributes"), max_attributes=10).render(LAPTOP)
    assert text == "Acer Swift 3 | weight: 1.2 kg; colour: silver; family: swift"


def test_the_template_says_which_fields_and_how() -> None:
    assert ProductTemplate(fields=("brand", "title"), separator=" - ").render(LAPTOP) == "Acer - Acer Swift 3"
    assert ProductTemplate(fields=("attributes",), max_attributes=1).render(LAPTOP) == "weight: 1.2 kg"
    assert ProductTemplate(fields=("price", "tags", "title")).render({"title": "tv", "price": 9, "tags": ["new", "4k"]}) == "9 | new, 4k | tv"


def test_missing_and_odd_fields_are_left_out() -> None:
    assert ProductTemplate().render({"title": "tv", "brand": None, "attributes": "none"}) == "tv"
    assert ProductTemplate().render({}) == ""


def test_length_is_bounded() -> None:
    assert len(ProductTemplate().render({"title": "tv " * 10_000})) <= 600
    assert len(ProductTemplate(max_characters=20).render("tv " * 10_000)) <= 20


def test_a_plain_string_is_only_cleaned() -> None:
    assert ProductTemplate().render(" a\tlaptop\n") == "a laptop"


def test_clean_drops_control_characters_and_keeps_emoji() -> None:
    assert clean("a\\nb\x07 \u200b c  🙂") == "a b c 🙂"


def test_unknown_keys_of_a_template_are_refused() -> None:
    with pytest.raises(ValidationError):
        ProductTemplate.model_validate({"felds": ["title"]})
