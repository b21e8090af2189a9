"""Opens the parquet tables of Amazon's ESCI data set and checks their columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reranker.errors import MissingExtraError, RerankerError


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
        yield file
