"""Products, and catalogue files: JSON Lines, plain, .gz or .zst, one product per line."""

from __future__ import annotations

import codecs
import io
import json
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from math import isinf
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from reranker.errors import CatalogError, printable, shortened

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Product = Mapping[str, Any]
"""``id``, ``title`` and optionally ``brand``, ``description``, ``attributes`` (a mapping). Other fields are kept and returned in results."""

UNREADABLE = (OSError, EOFError, UnicodeDecodeError, zlib.error, zstd.ZstdError)
"""What reading a file opened with ``open_text`` can raise."""

MAX_PROBLEMS_SHOWN = 10

MAX_PRODUCT_BYTES = 1 << 20
"""Of a product's JSON, in UTF-8."""

MAX_NESTING = 100
"""Levels of objects and lists in a product, itself included."""

MAX_LINE_CHARACTERS = 16 << 20
"""Of any text file: no line of it holds more, so nothing longer is read into memory."""

_LABEL_CHARACTERS = 200  # of an attribute's name
_PROBLEM_CHARACTERS = 300  # of a problem's text
_CHUNK = 1 << 17  # bytes

_ENCODING = codecs.lookup("utf-8-sig").name  # imports it: a SIGTERM during an import can be lost, and files are read long after the start

_TOO_LARGE = f"has more than {MAX_PRODUCT_BYTES:,} bytes of JSON, which is the limit of a product"

_HINT = "Correct them, or skip them with --skip-invalid, which lists them. Nothing was changed."
_HINT_ESCI = 'In ESCI an id occurs once per locale: choose one with --locale us, or in a recipe with data.locale = "us". Nothing was changed.'


class CatalogProblem(NamedTuple):
    """Why one product of a catalogue cannot be indexed. ``line`` is None if OpenSearch rejected it, which gives only the id."""

    line: int | None
    product_id: str | None
    message: str

    def __str__(self) -> str:
        who = shortened(self.product_id or "", _PROBLEM_CHARACTERS)
        where = f"id {who}" if self.line is None else f"line {self.line:,}" + (f" (id {who})" if who else "")
        return printable(f"{where}: {shortened(self.message, _PROBLEM_CHARACTERS)}".replace("\n", " "))

    def as_dict(self) -> dict[str, Any]:
        """Return the problem as ``--json`` prints it."""
        return {"line": self.line, "id": self.product_id, "why": shortened(self.message, _PROBLEM_CHARACTERS)}


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


@contextmanager
def open_text(path: Path) -> Iterator[Iterator[str]]:
    """Open a plain, .gz or .zst text file as UTF-8, with or without a byte-order mark, and yield its lines.

    A compressed file may have several parts. If each part ends with a line, a missing part could not be noticed, so it is refused.
    Reading raises one of ``UNREADABLE``, at the end of a file that was cut short and at a line above ``MAX_LINE_CHARACTERS``.
    """
    with ExitStack() as opened:
        raw: IO[bytes] = opened.enter_context(path.open("rb"))
        if path.suffix == ".gz":
            raw = io.BufferedReader(_Decompressed(raw, lambda: zlib.decompressobj(zlib.MAX_WBITS | 16), padding=b"\0"), _CHUNK)
        elif path.suffix == ".zst":
            raw = io.BufferedReader(_Decompressed(raw, zstd.ZstdDecompressor), _CHUNK)
        yield _lines(opened.enter_context(io.TextIOWrapper(raw, encoding=_ENCODING)))


def _lines(text: IO[str]) -> Iterator[str]:
    number = 0
    while line := text.readline(MAX_LINE_CHARACTERS):
        number += 1
        if len(line) == MAX_LINE_CHARACTERS:
            raise OSError(f"line {number:,} has {MAX_LINE_CHARACTERS:,} characters or more; no line may")
        yield line


class _Decompressed(io.RawIOBase):
    """The content of a compressed file of one part or more.

    Args:
        decompressor: makes an object that decompresses one part, as those of zlib and zstd do.
        padding: bytes that may stand between and after parts.
    """

    def __init__(self, file: IO[bytes], decompressor: Callable[[], Any], *, padding: bytes = b"") -> None:
        self._file = file
        self._new = decompressor
        self._padding = padding
        self._part: Any = None
        self._input = b""
        self._last = b""  # byte of the content so far
        self._empty = True  # whether the part at hand has yielded nothing yet
        self._joints = self._joints_in_lines = 0  # between parts with content

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            if self._part is None:
                self._input = self._input.lstrip(self._padding)
                while not self._input:
                    if not (more := self._file.read(_CHUNK)):
                        return self._end()
                    self._input = more.lstrip(self._padding)
                self._part, self._empty = self._new(), True
            data: bytes = self._part.decompress(self._input, len(buffer))
            self._input = getattr(self._part, "unconsumed_tail", b"")  # of zlib; zstd keeps it
            if self._part.eof:
                self._input, self._part = self._part.unused_data, None
            if data:
                if self._empty and self._last:
                    self._joints += 1
                    self._joints_in_lines += self._last != b"\n"
                self._empty, self._last = False, data[-1:]
                buffer[: len(data)] = data
                return len(data)
            if self._part is not None and not self._input:
                self._input = self._file.read(_CHUNK)
                if not self._input:
                    raise EOFError("it ends in the middle: it was cut short")

    def _end(self) -> int:
        if self._joints and not self._joints_in_lines:
            raise OSError(f"it has {self._joints + 1:,} compressed parts, each of whole lines, so that a missing one could not be noticed; compress it as one")
        return 0


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
            large = sum(len(str(part)) for part in value.values()) > MAX_PRODUCT_BYTES
            yield (None, CatalogProblem(number, None, _TOO_LARGE)) if large else _checked(value, number, seen)
        return
    with open_text(path) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _parse(line, number, seen)


def _parse(line: str, number: int, seen: dict[str, int]) -> tuple[dict[str, Any] | None, CatalogProblem | None]:
    if len(line) > MAX_PRODUCT_BYTES // 4 and len(line.encode()) > MAX_PRODUCT_BYTES:
        return None, CatalogProblem(number, None, _TOO_LARGE)
    try:
        value = json.loads(line, parse_constant=_refuse_constant, parse_float=_finite)
        if "\\ud" in line.lower():  # half a surrogate pair could not be stored
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:  # ValueError: broken JSON, a number of 5,000 digits, half a surrogate pair
        if isinstance(error, json.JSONDecodeError) and not line.endswith("\n"):
            raise EOFError(f"it ends in the middle of line {number:,}: {error.msg}") from error
        return None, CatalogProblem(number, None, f"not valid JSON ({error})")
    if line.count("[") + line.count("{") > MAX_NESTING and _levels(value) > MAX_NESTING:
        return None, CatalogProblem(number, None, f"is nested deeper than {MAX_NESTING} levels")
    return _checked(value, number, seen)


def _levels(value: Any) -> int:
    """Return how deep objects and lists are nested, at least 0."""
    levels, containers = 0, [value]
    while containers := [inner for inner in containers if isinstance(inner, dict | list)]:
        levels += 1
        containers = [child for inner in containers for child in (inner.values() if isinstance(inner, dict) else inner)]
    return levels


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
    """Yield (name, value) as readable text: underscores become spaces, lists are joined, booleans become yes or no, names are cut at 200 characters."""
    if not isinstance(attributes, Mapping):
        return
    open_mappings = [("", iter(attributes.items()))]
    while open_mappings:
        prefix, items = open_mappings[-1]
        for name, value in items:
            label = " ".join(f"{prefix} {str(name)[:_LABEL_CHARACTERS].replace('_', ' ')}".split())[:_LABEL_CHARACTERS]
            if isinstance(value, Mapping):
                open_mappings.append((label, iter(value.items())))
                break
            if isinstance(value, bool):
                yield label, "yes" if value else "no"
            elif isinstance(value, list | tuple):
                yield label, ", ".join(str(v) for v in value if v is not None)
            elif value is not None:
                yield label, str(value)
        else:
            open_mappings.pop()
