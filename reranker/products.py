"""Products, and catalogue files: JSON Lines, plain, .gz or .zst, one product per line."""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from math import isinf
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from reranker.errors import CatalogError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Product = Mapping[str, Any]
"""``id``, ``title`` and optionally ``brand``, ``description``, ``attributes`` (a mapping). Other fields are kept and returned in results."""

UNREADABLE = (OSError, EOFError, UnicodeDecodeError, zlib.error, zstd.ZstdError)
"""What reading a file opened with ``open_text`` can raise."""

MAX_PROBLEMS_SHOWN = 10

_HINT = "Correct them, or skip them with --skip-invalid, which lists them. Nothing was changed."
_HINT_ESCI = 'In ESCI an id occurs once per locale: choose one with --locale us, or in a recipe with data.locale = "us". Nothing was changed.'


class CatalogProblem(NamedTuple):
    """Why one product of a catalogue cannot be indexed. ``line`` is None if OpenSearch rejected it, which gives only the id."""

    line: int | None
    product_id: str | None
    message: str

    def __str__(self) -> str:
        if self.line is None:
            return f"id {self.product_id}: {self.message}"
        who = f" (id {self.product_id})" if self.product_id else ""
        return f"line {self.line:,}{who}: {self.message}"

    def as_dict(self) -> dict[str, Any]:
        """Return the problem as ``--json`` prints it."""
        return {"line": self.line, "id": self.product_id, "why": self.message}


def listed(problems: Sequence[CatalogProblem]) -> str:
    """Return the first problems, one a line, and the number of others."""
    more = [f"… and {len(problems) - MAX_PROBLEMS_SHOWN:,} more"] if len(problems) > MAX_PROBLEMS_SHOWN else []
    return "\n".join(f"  {line}" for line in [*problems[:MAX_PROBLEMS_SHOWN], *more])


def check_product(value: Any) -> str | None:
    """Return why ``value`` is not a product, or None if it is one."""
    if not isinstance(value, Mapping):
        return f"expected a JSON object, found {type(value).__name__}"
    product_id = value.get("id")
    if isinstance(product_id, bool) or not isinstance(product_id, str | int) or not str(product_id).strip():
        return "has no 'id' (a non-empty string or a whole number)"
    if len(str(product_id).encode()) > 512:
        return "'id' is longer than 512 bytes"
    title = value.get("title")
    if not isinstance(title, str) or not title.strip():
        return "has no 'title' (a non-empty string)"
    for field in ("brand", "description"):
        if value.get(field) is not None and not isinstance(value[field], str):
            return f"'{field}' is not a string"
    if value.get("attributes") is not None and not isinstance(value["attributes"], Mapping):
        return "'attributes' is not an object of names and values"
    return None


def open_text(path: Path) -> IO[str]:
    """Open a plain, .gz or .zst text file as UTF-8, with or without a byte-order mark."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig")
    if path.suffix == ".zst":
        return zstd.open(path, "rt", encoding="utf-8-sig")
    return path.open(encoding="utf-8-sig")


def read_catalog(
    path: str | Path,
    *,
    on_problem: Literal["refuse", "skip"] = "refuse",
    problems: list[CatalogProblem] | None = None,
    locale: str | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield the products of a catalogue file, ids as strings.

    Args:
        path: JSON Lines, plain, .gz or .zst; or the products table of Amazon ESCI (.parquet).
        on_problem: ``refuse`` raises an error with the first problems once the file is checked;
            ``skip`` leaves the lines out.
        problems: every line left out is appended to it.
        locale: for ESCI: keep only this ``product_locale``, such as ``us``.

    Raises:
        CatalogError: the file cannot be read, is empty, or (``refuse``) holds unusable lines.
        MissingExtraError: the file is parquet and pyarrow is not installed.
    """
    path = Path(path)
    found = problems if problems is not None else []
    seen: dict[str, int] = {}
    broken = False
    try:
        for product, problem in _rows(path, seen, locale):
            if problem is not None:
                found.append(problem)
                broken = on_problem == "refuse"
                if broken and len(found) >= 1000:
                    break
            elif not broken and product is not None:
                yield product
    except FileNotFoundError:
        raise CatalogError(f"There is no catalogue at {path}.", hint="Give a JSON Lines file (.jsonl, .jsonl.gz or .jsonl.zst), or ESCI's .parquet.") from None
    except UNREADABLE as error:
        raise CatalogError(
            f"The catalogue {path} cannot be read: {error}", hint="Expected a complete UTF-8 JSON Lines file, compressed as its suffix says."
        ) from error
    if broken:
        raise CatalogError(
            f"The catalogue {path} holds {len(found):,} unusable line(s):\n{listed(found)}",
            hint=_HINT_ESCI if path.suffix == ".parquet" and locale is None else _HINT,
        )
    if not seen:
        raise CatalogError(f"The catalogue {path} holds no usable product.", hint="Expected one JSON object a line, each with 'id' and 'title'.")


def _rows(path: Path, seen: dict[str, int], locale: str | None) -> Iterator[tuple[dict[str, Any] | None, CatalogProblem | None]]:
    if path.suffix == ".parquet":
        from reranker.esci import read_esci_products

        if not path.is_file():
            raise FileNotFoundError(path)
        for number, value in read_esci_products(path, locale):
            yield _checked(value, number, seen)
        return
    with open_text(path) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _parse(line, number, seen)


def _parse(line: str, number: int, seen: dict[str, int]) -> tuple[dict[str, Any] | None, CatalogProblem | None]:
    try:
        value = json.loads(line, parse_constant=_refuse_constant, parse_float=_finite)
        if "\\ud" in line.lower():  # half a surrogate pair could not be stored
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:  # ValueError: broken JSON, a number of 5,000 digits, half a surrogate pair
        return None, CatalogProblem(number, None, f"not valid JSON ({error})")
    return _checked(value, number, seen)


def _checked(value: Any, number: int, seen: dict[str, int]) -> tuple[dict[str, Any] | None, CatalogProblem | None]:
    message = check_product(value)
    product_id = str(value["id"]) if isinstance(value, dict) and value.get("id") is not None else None
    if message is None and product_id in seen:
        message = f"the same id is on line {seen[product_id]:,}"
    if message is not None:
        return None, CatalogProblem(number, product_id, message)
    assert product_id is not None
    seen[product_id] = number
    return {**value, "id": product_id}, None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


def _finite(number: str) -> float:
    value = float(number)
    if isinf(value):
        raise ValueError(f"{number} is too large a number")
    return value


def attribute_pairs(attributes: Any) -> Iterator[tuple[str, str]]:
    """Yield (name, value) as readable text: underscores become spaces, lists are joined, booleans become yes or no."""
    if not isinstance(attributes, Mapping):
        return
    for name, value in attributes.items():
        label = " ".join(str(name).replace("_", " ").split())
        if isinstance(value, bool):
            yield label, "yes" if value else "no"
        elif isinstance(value, Mapping):
            for inner, text in attribute_pairs(value):
                yield f"{label} {inner}", text
        elif isinstance(value, list | tuple):
            yield label, ", ".join(str(v) for v in value if v is not None)
        elif value is not None:
            yield label, str(value)
