"""Rewrites a search request so that it returns enough hits, with the fields that the student reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from copy import deepcopy
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from reranker.first_stage import MAX_K, MAX_QUERY_CHARACTERS
from reranker.service.search_pipeline.query_words import query_words

_DEFAULT_SIZE = 10
_MAX_WINDOW = 10_000  # default of OpenSearch's index.max_result_window


class PipelineSettings(BaseModel):
    """A pipeline's settings. It sends them with every request to the service.

    ``k``: how many of BM25's hits the student reorders. ``fields``: the template's field → its path in a document.
    ``budget_ms``: time limit of scoring.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)  # pipelines that an earlier release installed have further settings

    k: int = Field(50, ge=1, le=MAX_K)
    fields: dict[str, str] = Field(min_length=1)
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
    new = deepcopy(dict(request))
    new["from"], new["size"] = 0, min(max(settings.k, window.start + window.size), _MAX_WINDOW)
    if "_source" in new:
        new["_source"] = _with_fields(new["_source"], list(settings.fields.values()))
    elif "script_fields" in new or "stored_fields" in new:
        new["_source"] = list(settings.fields.values())  # otherwise OpenSearch returns no source
    if new.get("track_total_hits") in (False, -1):
        new["track_total_hits"] = 1  # the rerank processor fails if hits are not counted at all
    return Rewritten(new, None)


def as_json_text(request: Mapping[str, Any]) -> str:
    """Return a request as JSON without ``${``, which ML Commons would read as a variable."""
    return json.dumps(request, ensure_ascii=False).replace("$", "\\u0024")


def window_of(request: Mapping[str, Any], settings: PipelineSettings) -> tuple[Window | None, str | None]:
    """Return the page that a search shows, or None and why its hits are not reranked."""
    words = query_words(request)
    start, size = _number(request.get("from"), 0), _number(request.get("size"), _DEFAULT_SIZE)
    fallback_reason = _fallback_reason(request, words, start, size, settings)
    return (None, fallback_reason) if fallback_reason else (Window(words, start, size), None)


def _fallback_reason(request: Mapping[str, Any], words: str, start: int, size: int, settings: PipelineSettings) -> str | None:
    if not words:
        return "no words to search for"
    if len(words) > MAX_QUERY_CHARACTERS:
        return "the query is too long"
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
    """Extend a ``_source`` filter so that these fields are returned."""
    if source is True:
        return True
    if source is False:
        return fields
    if isinstance(source, str | list):
        source = {"includes": source}
    includes, excludes = (_listed(source.get(name) or source.get(name[:-1])) for name in ("includes", "excludes"))
    kept = [pattern for pattern in excludes if not any(_touches(pattern, field) for field in fields)]
    return {"includes": [*includes, *(field for field in fields if includes and field not in includes)], "excludes": kept}


def _touches(pattern: str, field: str) -> bool:
    """Whether an exclusion removes a field, one of its parents, or a part of it."""
    parents = [field[: i if i >= 0 else None] for i in [field.find(".", at) for at in range(len(field))]]
    return any(fnmatchcase(name, pattern) for name in {field, *parents}) or pattern.startswith(f"{field}.")


def _listed(patterns: Any) -> list[str]:
    return [patterns] if isinstance(patterns, str) else list(patterns or [])


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
