"""Judgments: human grades 0–3 of (query, product) pairs, from CSV, TREC qrels or Amazon ESCI's parquet."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from reranker.errors import InputError, JudgmentError
from reranker.esci import open_table
from reranker.first_stage import check_query
from reranker.products import UNREADABLE, open_text

MAX_GRADE = 3
ESCI_GRADES = {"e": 3, "exact": 3, "s": 2, "substitute": 2, "c": 1, "complement": 1, "i": 0, "irrelevant": 0}

_COLUMNS_HINT = "The first line names the columns: query,product_id,rating and optionally intent,votes."


class Judgment(NamedTuple):
    """The grade of one product for one query.

    ``intent`` groups rewordings of a query; it is the query itself if none is given.
    ``votes`` are the raters' own grades, empty if unknown.
    """

    query: str
    product_id: str
    rating: int
    intent: str
    votes: tuple[int, ...] = ()


class _Row(NamedTuple):
    """A judgment as written in the file, with its line or row."""

    line: int
    query: Any
    product_id: Any
    rating: Any
    intent: Any = None
    votes: Any = None


def load_judgments(path: str | Path, *, queries: str | Path | None = None, locale: str | None = None) -> list[Judgment]:
    """Read judgments in the file's order. Whitespace in queries is collapsed.

    Args:
        path: CSV (``query,product_id,rating`` and optionally ``intent,votes``; grades may be ESCI's letters too), TREC qrels (four columns),
            or the examples table of Amazon ESCI (``.parquet``; E, S, C, I become 3, 2, 1, 0). The first two also as .gz or .zst.
        queries: for qrels: a file with the queries' texts, one ``id<TAB>text`` per line.
        locale: for ESCI: keep only this ``product_locale``, such as ``us``.

    Raises:
        JudgmentError: the file cannot be read, is empty, or a line of it is wrong; the message names the line.
        MissingExtraError: the file is parquet and pyarrow is not installed.
    """
    path = Path(path)
    try:
        if path.suffix == ".parquet":
            rows, place = _esci_rows(path, locale), "row"
        elif _looks_like_qrels(path):
            rows, place = _qrels_rows(path, queries), "line"
        elif queries is not None:
            raise JudgmentError(
                f"A queries file was given, but {path} is not in TREC's four columns.", hint="Leave the queries file out: a CSV contains its queries."
            )
        else:
            rows, place = _csv_rows(path), "line"
        judgments = _checked(path, place, rows)
    except FileNotFoundError as error:
        raise JudgmentError(
            f"There is no file at {error.filename or path}.",
            hint="Is the path right? Judgments are a .csv, TREC qrels with a queries file, or ESCI's .parquet.",
        ) from None
    except (csv.Error, *UNREADABLE) as error:
        raise JudgmentError(f"The judgments {path} cannot be read: {error}", hint="Expected a complete UTF-8 file, compressed as its suffix says.") from error
    if not judgments:
        raise JudgmentError(f"The file {path} has no judgments.", hint=_COLUMNS_HINT)
    return judgments


def _checked(path: Path, place: str, rows: Iterator[_Row]) -> list[Judgment]:
    """Convert rows to judgments; the first invalid one raises an error."""
    first_seen: dict[tuple[str, str], tuple[int, int]] = {}
    intents: dict[str, tuple[int, str]] = {}
    judgments: list[Judgment] = []
    for row in rows:
        where = f"{path}, {place} {row.line:,}"
        try:
            query = check_query(str(row.query or ""))
        except InputError as error:
            raise JudgmentError(f"{where}: {error.message}") from None
        product_id = str(row.product_id if row.product_id is not None else "").strip()
        if not product_id:
            raise JudgmentError(f"{where}: the product id is empty.")
        rating = _grade(row.rating)
        if rating is None:
            raise JudgmentError(
                f"{where}: the rating is {row.rating!r}.",
                hint=f"A rating is a whole number from 0 (irrelevant) to {MAX_GRADE} (exactly right), or one of ESCI's labels, E, S, C and I.",
            )
        votes = tuple(_grade(vote) for vote in str(row.votes or "").split())
        if None in votes:
            raise JudgmentError(
                f"{where}: the votes are {row.votes!r}.",
                hint=f"Votes are whole numbers from 0 to {MAX_GRADE} or ESCI's labels, separated by spaces, such as: 3 2 3",
            )
        earlier = first_seen.setdefault((query, product_id), (row.line, rating))
        if earlier[1] != rating:
            raise JudgmentError(
                f"{where}: product {product_id} is rated {rating} for '{query}', but {earlier[1]} on {place} {earlier[0]:,}.", hint="Keep one of the two."
            )
        if earlier[0] == row.line:
            intent = " ".join(str(row.intent or "").split()) or query
            line, known = intents.setdefault(query, (row.line, intent))
            if known.casefold() != intent.casefold():
                raise JudgmentError(
                    f"{where}: the intent of '{query}' is '{intent}', but '{known}' on {place} {line:,}.",
                    hint="A query has one intent, on each of its lines; where none is given, it is the query itself.",
                )
            judgments.append(Judgment(query, product_id, rating, intent, tuple(vote for vote in votes if vote is not None)))
    return judgments


def _grade(value: Any) -> int | None:
    """Return a grade as a number, or None if it is neither 0 to 3 nor one of ESCI's labels."""
    if (label := str(value).strip().lower()) in ESCI_GRADES:
        return ESCI_GRADES[label]
    try:
        grade = int(value)
    except (TypeError, ValueError):
        return None
    return grade if 0 <= grade <= MAX_GRADE else None


def _csv_rows(path: Path) -> Iterator[_Row]:
    with open_text(path) as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        columns = [name.strip() for name in reader.fieldnames or []]
        if not columns:
            return
        reader.fieldnames = columns
        missing = [name for name in ("query", "product_id", "rating") if name not in columns]
        if missing:
            raise JudgmentError(
                f"{path}, line 1: no column {' and no column '.join(map(repr, missing))}; found {', '.join(columns)[:200]}.", hint=_COLUMNS_HINT
            )
        for row in reader:
            if None in row:
                raise JudgmentError(
                    f"{path}, line {reader.line_num:,}: more fields than columns.", hint='Put a query that holds a comma into quotes: "usb c, short".'
                )
            yield _Row(reader.line_num, row["query"], row["product_id"], row["rating"], row.get("intent"), row.get("votes"))


def _looks_like_qrels(path: Path) -> bool:
    """Return whether the first line has TREC's four columns: query id, iteration, product id, rating."""
    with open_text(path) as file:
        first = next((line for line in file if line.strip()), "")
    parts = first.split()
    return len(parts) == 4 and "," not in first and parts[3].lstrip("-").isdigit()


def _qrels_rows(path: Path, queries: str | Path | None) -> Iterator[_Row]:
    if queries is None:
        raise JudgmentError(
            f"{path} is in TREC's format, which has only query ids.", hint="Give the file with the queries' texts, one id<TAB>text per line: --queries FILE"
        )
    texts = _query_texts(Path(queries))
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            parts = line.split()
            if not parts:
                continue
            if len(parts) != 4:
                raise JudgmentError(
                    f"{path}, line {number:,}: {len(parts)} columns.", hint="TREC qrels have four: query id, iteration (not used), product id, rating."
                )
            if parts[0] not in texts:
                raise JudgmentError(f"{path}, line {number:,}: {queries} has no query '{parts[0]}'.", hint="Do the two files belong together?")
            yield _Row(number, texts[parts[0]], parts[2], parts[3])


def _query_texts(path: Path) -> dict[str, str]:
    texts: dict[str, str] = {}
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            query_id, tab, text = line.partition("\t")
            if not tab:
                raise JudgmentError(f"{path}, line {number:,}: no tab.", hint="Expected one id<TAB>text per line.")
            texts[query_id.strip()] = text
    return texts


def _esci_rows(path: Path, locale: str | None) -> Iterator[_Row]:
    needed = ["query", "product_id", "esci_label"]
    hint = "Give ESCI's examples table (shopping_queries_dataset_examples.parquet): it holds the labels."
    with open_table(path, "judgments", needed=needed, locale=locale, hint=hint, error=JudgmentError) as file:
        columns = [*needed, *(["product_locale"] if locale else [])]
        number = 0
        for batch in file.iter_batches(columns=columns):
            for row in batch.to_pylist():
                number += 1
                if locale is None or row["product_locale"] == locale:
                    grade = ESCI_GRADES.get(str(row["esci_label"]).strip().lower())
                    if grade is None:
                        raise JudgmentError(
                            f"{path}, row {number:,}: the label is {row['esci_label']!r}.", hint="ESCI's labels are E, S, C and I, or the words in full."
                        )
                    yield _Row(number, row["query"], row["product_id"], grade)
