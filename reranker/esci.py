"""Amazon's ESCI data set (arXiv 2206.06588): its parquet tables, and its products as a catalogue."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reranker.errors import CatalogError, MissingExtraError, RerankerError

_FIELDS = {"product_id": "id", "product_title": "title", "product_brand": "brand"}
_NEEDED = ("product_id", "product_title")
_BATCH = 1_000  # rows read at once
_TAG = re.compile(r"</?[a-zA-Z][^>]*>")
_OPTIONAL = ("product_description", "product_bullet_point", "product_brand", "product_color", "product_locale")


@contextmanager
def open_table(path: Path, what: str, *, needed: Sequence[str], locale: str | None, hint: str, error: type[RerankerError]) -> Iterator[Any]:
    """Open a table as a ``pyarrow.parquet.ParquetFile`` that has the ``needed`` columns, and ``product_locale`` if a locale is given.

    Args:
        what: the table's content, such as "judgments".
        hint: which table to give instead.

    Raises:
        error: it is not a parquet file, or lacks a column.
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise MissingExtraError("Reading parquet", "distill") from None
    try:
        file = parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as reason:
        raise error(f"The {what} {path} cannot be read: {reason}", hint="Is it a whole parquet file?") from reason
    with file:
        names = file.schema_arrow.names
        missing = [name for name in (*needed, *(["product_locale"] if locale else [])) if name not in names]
        if missing:
            raise error(f"{path}: no column {' and no column '.join(map(repr, missing))}; found {', '.join(names)[:200]}.", hint=hint)
        try:
            yield file
        except (pyarrow.ArrowException, OSError) as reason:
            raise error(f"The {what} {path} cannot be read: {reason}", hint="Is it a whole parquet file?") from reason


def read_esci_products(path: Path, locale: str | None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each row's number and its product: bullet points and description without their HTML, colour as an attribute.

    Args:
        path: ``shopping_queries_dataset_products.parquet``, or a table of its columns.
        locale: keep only this ``product_locale``, such as ``us``; an id may occur in each.

    Raises:
        CatalogError: it is not such a table, or has no product of the locale.
        MissingExtraError: pyarrow is not installed.
    """
    hint = "Give ESCI's products table (shopping_queries_dataset_products.parquet), or JSON Lines."
    with open_table(path, "catalogue", needed=_NEEDED, locale=locale, hint=hint, error=CatalogError) as file:
        names = file.schema_arrow.names
        number, found, locales = 0, False, set()
        for batch in file.iter_batches(batch_size=_BATCH, columns=[*_NEEDED, *(name for name in _OPTIONAL if name in names)]):
            for row in batch.to_pylist():
                number += 1
                locales.add(str(row.get("product_locale")))
                if locale is None or row["product_locale"] == locale:
                    found = True
                    yield number, _product(row)
    if locale and number and not found:
        raise CatalogError(f"{path} has no product of the locale {locale}.", hint=f"It has: {', '.join(sorted(locales))}.")


def _product(row: dict[str, Any]) -> dict[str, Any]:
    product = {ours: _plain(row.get(theirs)) for theirs, ours in _FIELDS.items()}
    described = " ".join(text for name in ("product_bullet_point", "product_description") if (text := _plain(row.get(name))))
    colour = _plain(row.get("product_color"))
    return {**product, "description": described, "attributes": {"colour": colour} if colour else {}}


def _plain(text: Any) -> str | None:
    """Return the text without HTML tags, entities and line breaks; Amazon's descriptions are fragments of web pages."""
    return " ".join(html.unescape(_TAG.sub(" ", str(text))).split()) if text else None
