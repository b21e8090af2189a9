"""The products table of Amazon's ESCI data set as a catalogue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reranker.errors import CatalogError, MissingExtraError

_FIELDS = {"product_id": "id", "product_title": "title", "product_brand": "brand"}
_NEEDED = ("product_id", "product_title")
_OPTIONAL = ("product_description", "product_bullet_point", "product_brand", "product_color", "product_locale")


def read_esci_products(path: Path, locale: str | None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each row's number and its product: description with bullet points, colour as an attribute.

    Args:
        path: ``shopping_queries_dataset_products.parquet``, or a table of its columns.
        locale: keep only this ``product_locale``, such as ``us``; an id can stand for a product in each.

    Raises:
        CatalogError: it is no such table.
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise MissingExtraError("Reading parquet", "distill") from None
    try:
        file = parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise CatalogError(f"The catalogue {path} cannot be read: {error}", hint="Is it a whole parquet file?") from error
    with file:
        names = file.schema_arrow.names
        missing = [name for name in (*_NEEDED, *(["product_locale"] if locale else [])) if name not in names]
        if missing:
            raise CatalogError(
                f"{path}: no column {' and no column '.join(map(repr, missing))}; found {', '.join(names)[:200]}.",
                hint="Give ESCI's products table (shopping_queries_dataset_products.parquet), or JSON Lines.",
            )
        number = 0
        for batch in file.iter_batches(columns=[*_NEEDED, *(name for name in _OPTIONAL if name in names)]):
            for row in batch.to_pylist():
                number += 1
                if locale is None or row["product_locale"] == locale:
                    yield number, _product(row)


def _product(row: dict[str, Any]) -> dict[str, Any]:
    product = {ours: row.get(theirs) for theirs, ours in _FIELDS.items()}
    described = " ".join(text for text in (row.get("product_description"), row.get("product_bullet_point")) if text)
    colour = row.get("product_color")
    return {**product, "description": described, "attributes": {"colour": colour} if colour else {}}
