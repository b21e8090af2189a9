"""Parses and validates JSON bodies; large ones in a thread, under the request's deadline."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from pydantic.json_schema import models_json_schema
from pydantic_core import from_json

from reranker.service.engine import Engine

M = TypeVar("M", bound=BaseModel)

MAX_DEPTH = 200
"""Levels of nesting that the parser reads."""
_COMPONENTS = "#/components/schemas/{model}"


async def body_of(request: Request, model: type[M], engine: Engine) -> M:
    """Return a request's body as a model.

    Raises:
        RequestValidationError: as ``parse``, or there is no body.
        OverloadError: there is no time for it.
    """
    body: bytes = (await request.receive()).get("body", b"")
    if not body:
        raise RequestValidationError([{"type": "missing", "loc": ("body",), "msg": "Field required"}])
    return await engine.off_loop(lambda: parse(model, body))


def described_by(model: type[BaseModel]) -> dict[str, Any]:
    """Return what describes an endpoint's body, for ``openapi_extra``."""
    content = {"application/json": {"schema": {"$ref": _COMPONENTS.format(model=model.__name__)}}}
    return {"requestBody": {"required": True, "content": content}}


def describe_bodies(app: FastAPI, models: Sequence[type[BaseModel]]) -> None:
    """Add the models that ``described_by`` names to the app's OpenAPI description."""
    describe = app.openapi

    def with_models() -> dict[str, Any]:
        if app.openapi_schema is None:
            _, schemas = models_json_schema([(model, "validation") for model in models], ref_template=_COMPONENTS)
            describe().setdefault("components", {}).setdefault("schemas", {}).update(schemas["$defs"])
        return describe()

    app.openapi = with_models  # type: ignore[method-assign]


def parse(model: type[M], body: bytes) -> M:
    """Return the validated body.

    Raises:
        RequestValidationError: it is not JSON, or cannot be used; the error points to the place.
    """
    try:
        value = from_json(body)
    except ValueError as error:
        found = _unreadable_value(body)
        if found is None:
            raise RequestValidationError([{"type": "json_invalid", "loc": ("body",), "msg": str(error)}]) from None
        path, why = found
        raise RequestValidationError([{"type": "value_error", "loc": ("body", *path), "msg": why}]) from None
    try:
        return model.model_validate(value)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
    raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in errors])


def _unreadable_value(body: bytes) -> tuple[tuple[str | int, ...], str] | None:
    """Return the path of a value that is JSON but that the parser does not read, and why; None if there is none.

    Such a value is a string with half a surrogate pair, a number of thousands of digits, or one nested too deeply.
    """
    try:
        value = json.loads(body, parse_int=_short_integer)
    except RecursionError:
        return (), f"is nested more than {MAX_DEPTH} levels deep"
    except ValueError:
        return None
    path: list[str | int] = []
    frames: list[Iterator[tuple[str | int, Any]]] = [iter([("", value)])]  # of iterators, since copies of paths would multiply memory
    while frames:
        key, inner = next(frames[-1], (None, None))
        if key is None:
            frames.pop()
            if path:
                path.pop()
            continue
        where = (*path, key)[1:] if len(path) < 8 else tuple(path[1:8])
        if inner is _TOO_LONG:
            return where, "is a number of too many digits"
        if isinstance(inner, str) and _has_half_a_pair(inner):
            return where, "contains half a surrogate pair, which is not valid Unicode text"
        if isinstance(inner, dict) and any(_has_half_a_pair(name) for name in inner):
            return where, "has a name with half a surrogate pair, which is not valid Unicode text"
        if isinstance(inner, dict | list):
            if len(frames) > MAX_DEPTH - 5:
                return where, f"is nested more than {MAX_DEPTH} levels deep"
            path.append(key)
            frames.append(iter(inner.items() if isinstance(inner, dict) else enumerate(inner)))
    return None


_TOO_LONG = object()


def _short_integer(digits: str) -> Any:
    return int(digits) if len(digits) < 4_000 else _TOO_LONG


def _has_half_a_pair(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)
