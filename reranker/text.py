"""The text of a product: teacher and student use the same template, which is part of the bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from reranker.lazy_product import LazyProduct
from reranker.products import attribute_pairs

_FIELD_CHARACTERS = 2_000  # more than any student reads; limits the time that a long description takes


def clean(text: str) -> str:
    r"""Remove control characters and literal ``\n``, which occur in real catalogues, and collapse whitespace."""
    text = text.replace("\\n", " ").replace("\\t", " ")
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(text.split())


class ProductTemplate(BaseModel):
    """Renders a product as text: its fields in order, without empty and repeated ones.

    ``attributes`` stands for the first ``max_attributes`` attributes whose value is a word
    rather than a number or yes/no, as ``name: value``. Any other name is a field of the product.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    fields: tuple[str, ...] = ("title", "brand", "description")
    separator: str = " | "
    max_attributes: int = Field(default=4, ge=0)
    max_characters: int = Field(default=600, ge=16, le=20_000)

    def render(self, product: Mapping[str, Any] | str) -> str:
        """Return the product's text; a plain string is only cleaned."""
        if isinstance(product, str):
            return clean(product[: 4 * _FIELD_CHARACTERS])[: self.max_characters]
        if not isinstance(product, LazyProduct):
            return self._text(product)
        rendered = product.indexed.text
        if rendered is None or rendered[0] is not self:
            rendered = product.indexed.text = (self, self._text(product))
        return rendered[1]

    def _text(self, product: Mapping[str, Any]) -> str:
        parts: list[str] = []
        folded: list[str] = []
        for field in self.fields:
            text = self._attributes(product.get("attributes")) if field == "attributes" else _as_text(product.get(field))
            lower = text.lower()
            if text and not any(lower in part for part in folded):
                parts.append(text)
                folded.append(lower)
        return self.separator.join(parts)[: self.max_characters]

    def _attributes(self, attributes: Any) -> str:
        shown: list[str] = []
        for name, value in attribute_pairs(attributes):
            if len(shown) == self.max_attributes:
                break
            value = clean(value[:_FIELD_CHARACTERS])
            if value in ("yes", "no") or len(value) > 60 or not any(c.isalpha() for c in value):
                continue
            shown.append(f"{name}: {value}")
        return "; ".join(shown)


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return clean(value[:_FIELD_CHARACTERS])
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, Mapping):
        value = "; ".join(f"{name}: {text}" for name, text in attribute_pairs(value))
    elif isinstance(value, list | tuple):
        value = ", ".join(_as_text(v) for v in value[:20])
    return clean(str(value)[:_FIELD_CHARACTERS])
