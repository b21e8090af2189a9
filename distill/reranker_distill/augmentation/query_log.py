"""The query log: queries of shoppers and their counts."""

from __future__ import annotations

from pathlib import Path

from reranker.errors import RecipeError
from reranker.products import UNREADABLE, open_text


def read_query_log(path: Path) -> list[tuple[str, int]]:
    """Return (query, count) of a tab-separated log with the columns ``query`` and ``count``, most frequent first.

    Raises:
        RecipeError: the columns are missing, a line does not fit them, or it cannot be read as text in UTF-8.
    """
    try:
        return _read(path)
    except UnicodeDecodeError as error:
        raise RecipeError(f"The query log {path} is not text in UTF-8: {error.reason}.", hint="Save it as UTF-8: iconv -f LATIN1 -t UTF-8 FILE") from error
    except UNREADABLE as error:
        raise RecipeError(f"The query log {path} cannot be read: {error}", hint="Expected a complete file, compressed as its suffix says.") from error


def _read(path: Path) -> list[tuple[str, int]]:
    with open_text(path) as lines:
        if next(lines, "").rstrip("\n").split("\t")[:2] != ["query", "count"]:
            raise RecipeError(f"The query log {path} does not begin with 'query<TAB>count'.", hint="Write that as its first line.")
        log = []
        for number, line in enumerate(lines, start=2):
            if not line.strip():
                continue
            query, count = [*line.rstrip("\n").split("\t"), ""][:2]
            if not count.isdecimal() or len(count) > 18:
                raise RecipeError(f"Line {number:,} of the query log {path} has no count.", hint="Each line is query<TAB>count.")
            log.append((query, int(count)))
    return sorted(log, key=lambda entry: -entry[1])
