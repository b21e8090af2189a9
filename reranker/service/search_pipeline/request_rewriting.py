"""Rewrites a search request so that it returns enough hits, with the fields that the student reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from reranker.first_stage import MAX_K
from reranker.service.search_pipeline.query_words import MAX_PATH_CHARACTERS, NotReadable, query_words

_DEFAULT_SIZE = 10
_MAX_WINDOW = 10_000  # default of OpenSearch's index.max_result_window


MAX_FIELDS = 64
MAX_STEPS = 16
MAX_PATTERNS = 256


def _check_path(path: str) -> str:
    if path.count(".") >= MAX_STEPS:
        raise ValueError(f"a path has at most {MAX_STEPS} steps")
    return path


FieldName = Annotated[str, Field(max_length=MAX_PATH_CHARACTERS)]
FieldPath = Annotated[str, Field(max_length=MAX_PATH_CHARACTERS), AfterValidator(_check_path)]


class PipelineSettings(BaseModel):
    """A pipeline's settings. It sends them with every request to the service.

    ``k``: how many of BM25's hits the student reorders. ``fields``: the template's field → its path in a document.
    ``budget_ms``: time limit of scoring.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)  # pipelines that an earlier release installed have further settings

    k: int = Field(50, ge=1, le=MAX_K)
    fields: dict[FieldName, FieldPath] = Field(min_length=1, max_length=MAX_FIELDS)
    budget_ms: float = Field(1_000, ge=1)

    def with_fields(self, names: Iterable[str]) -> PipelineSettings:
        """Add a bundle's own fields if the documents hold whole products, as those of ``reranker index`` do."""
        more = {name: f"product.{name}" for name in names if name not in self.fields}
        if not more or self.fields.get("title") != "product.title":
            return self
        return self.model_copy(update={"fields": self.fields | more})


class Window(NamedTuple):
    """The shopper's ``words``, and the page (``start``, ``size``) that the search shows."""

    words: str
    start: int
    size: int


class Rewritten(NamedTuple):
    """The request to run, and why its hits will not be reranked (None if they will)."""

    request: dict[str, Any]
    fallback_reason: str | None


def rewrite(request: Mapping[str, Any], settings: PipelineSettings) -> Rewritten:
    """Return the request that fetches what the student reads; a request whose hits cannot be reranked comes back unchanged.

    A later page is fetched from the first hit on, so that page 2 continues page 1: the service's scores bring the wanted page to
    the front, and the pipeline truncates the hits to it.
    """
    window, fallback_reason = window_of(request, settings)
    if window is None:
        return Rewritten(dict(request), fallback_reason)
    new = dict(request)
    new["from"], new["size"] = 0, min(max(settings.k, window.start + window.size), _MAX_WINDOW)
    if new.get("_source") is not None:
        try:
            new["_source"] = _with_fields(new["_source"], list(settings.fields.values()))
        except NotReadable as error:
            return Rewritten(dict(request), str(error))
    elif "script_fields" in new or "stored_fields" in new:
        new["_source"] = list(settings.fields.values())  # otherwise OpenSearch returns no source
    if new.get("track_total_hits") in (False, -1):
        new["track_total_hits"] = 1  # the rerank processor fails if hits are not counted at all
    return Rewritten(new, None)


def as_json_text(request: Mapping[str, Any]) -> str:
    """Return a request as JSON without ``${``, which ML Commons would read as a variable.

    Raises:
        ValueError: it holds NaN or an infinity.
    """
    return json.dumps(request, ensure_ascii=False, allow_nan=False).replace("$", "\\u0024")


def window_of(request: Mapping[str, Any], settings: PipelineSettings) -> tuple[Window | None, str | None]:
    """Return the page that a search shows, or None and why its hits are not reranked."""
    try:
        words = query_words(request)
    except NotReadable as error:
        return None, str(error)
    start, size = _number(request.get("from"), 0), _number(request.get("size"), _DEFAULT_SIZE)
    fallback_reason = _fallback_reason(request, words, start, size, settings)
    return (None, fallback_reason) if fallback_reason else (Window(words, start, size), None)


def _fallback_reason(request: Mapping[str, Any], words: str, start: int, size: int, settings: PipelineSettings) -> str | None:
    if not words:
        return "no words to search for"
    if size < 1:
        return "the page is empty"
    if start >= settings.k:
        return "the page is beyond the reranked hits"
    if start + size > _MAX_WINDOW:
        return "the page is too deep"
    if not _by_score(request.get("sort")):
        return "the hits are not sorted by score"
    for name in ("search_after", "slice"):
        if request.get(name):
            return f"the request uses {name}"
    if request.get("stored_fields") in ("_none_", ["_none_"]):
        return "the request excludes all fields"
    return None


def _with_fields(source: Any, fields: list[str]) -> Any:
    """Extend a ``_source`` filter so that these fields are returned.

    Raises:
        NotReadable: it is not a filter, or has too many or too long patterns.
    """
    if source is True:
        return True
    if source is False:
        return fields
    if isinstance(source, str | list):
        source = {"includes": source}
    if not isinstance(source, Mapping):
        raise NotReadable("the request's _source cannot be read")
    includes, excludes = (_patterns(source.get(name) or source.get(name[:-1])) for name in ("includes", "excludes"))
    names = _names(fields)
    kept = [pattern for pattern in excludes if not _touches(pattern, names, fields)]
    return {"includes": [*includes, *(field for field in fields if includes and field not in includes)], "excludes": kept}


def _names(fields: Iterable[str]) -> set[str]:
    """Return the fields and their parents."""
    names: set[str] = set()
    for field in fields:
        steps = field.split(".")
        names |= {".".join(steps[:end]) for end in range(1, len(steps) + 1)}
    return names


def _touches(pattern: str, names: Iterable[str], fields: Iterable[str]) -> bool:
    """Whether an exclusion removes a field, one of its parents, or a part of it."""
    return any(_matches(name, pattern) for name in names) or any(pattern.startswith(f"{field}.") for field in fields)


def _matches(name: str, pattern: str) -> bool:
    """Whether a name matches a pattern, in which ``*`` stands for any characters. Each part is found once, so time is linear."""
    first, *rest = pattern.split("*")
    if not rest:
        return name == pattern
    *middle, last = rest
    if len(name) < len(first) + len(last) or not (name.startswith(first) and name.endswith(last)):
        return False
    at, end = len(first), len(name) - len(last)
    for part in middle:
        at = name.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


def _patterns(patterns: Any) -> list[str]:
    patterns = [patterns] if isinstance(patterns, str) else patterns or []
    if not isinstance(patterns, list) or len(patterns) > MAX_PATTERNS:
        raise NotReadable("the request's _source cannot be read or has too many patterns")
    for pattern in patterns:
        if not isinstance(pattern, str) or len(pattern) > MAX_PATH_CHARACTERS:
            raise NotReadable("the request's _source holds a pattern that is not text or is too long")
    return patterns


def _by_score(sort: Any) -> bool:
    """Whether hits are sorted by score, best first; further keys only break ties."""
    if not sort:
        return True
    first = sort[0] if isinstance(sort, list) else sort
    if isinstance(first, Mapping):
        name, how = next(iter(first.items()), ("", None))
        order = how.get("order", "desc") if isinstance(how, Mapping) else how
        return name == "_score" and order == "desc"
    return bool(first == "_score")


def _number(value: Any, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else default
