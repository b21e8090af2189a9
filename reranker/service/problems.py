"""Turns errors into JSON answers: ``{"error": {"message", "hint"}, "detail"}`` with an HTTP status."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from reranker.errors import RerankerError

log = logging.getLogger(__name__)

TOO_LARGE_HINT = "Send fewer or shorter documents."
_NAME_CHARACTERS, _LEVELS = 100, 8
"""What an error shows of the place in a body."""
_SEE_DOCS = "See /docs for this endpoint's input."
_HINTS = {
    403: "Start the service with --api-key-file, and send the key.",
    408: "Send the whole body faster, or raise --timeout-ms of `reranker serve`.",
    413: TOO_LARGE_HINT,
    415: "Send the header Content-Type: application/json.",
    421: "Use localhost or an IP address, or start the service with --allowed-hosts and this name.",
    431: "Send fewer or shorter headers.",
}


def problem(status: int, message: str, hint: str | None = None, headers: Any = None) -> JSONResponse:
    return JSONResponse({"error": {"message": message, "hint": hint}, "detail": message}, status, headers=headers)


def answer_to(error: HTTPException | RerankerError) -> JSONResponse:
    """Return the answer to an error that is raised outside the app's own handlers, and inside them."""
    if isinstance(error, RerankerError):
        headers = None if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
        return problem(error.http_status, error.message, error.hint, headers)
    return problem(error.status_code, str(error.detail), _HINTS.get(error.status_code), error.headers)


def add_handlers(app: FastAPI) -> None:
    """Answer every error of the app with JSON. Unexpected errors are logged, and answered without details."""

    @app.exception_handler(RerankerError)
    async def known(_: Request, error: RerankerError) -> JSONResponse:
        return answer_to(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return _invalid(error.errors())

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code in (404, 405):
            path = request.scope["path"][:200]
            return problem(error.status_code, f"There is no {request.method[:20]} {path}.", "See /docs for the endpoints.", error.headers)
        if error.status_code == 400:
            return problem(400, "The body cannot be read as JSON.", "Send UTF-8 JSON, not nested too deeply.", error.headers)
        return answer_to(error)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        log.error("%s %s failed", request.method, request.scope["path"][:200], exc_info=error)
        return problem(500, f"The service failed: {type(error).__name__}.", "This is an error of the service; its log has the details.")


def _invalid(errors: Sequence[Any]) -> JSONResponse:
    """Report the first error and the number of others, without echoing the input."""
    first = errors[0]
    source, *path = first["loc"]
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "json_invalid":
        return problem(400, f"The body is not valid JSON: {message}.", "Send UTF-8 JSON.")
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part[:_NAME_CHARACTERS]}" for part in path[:_LEVELS]).lstrip(".") or source
    more = f" (and {len(errors) - 1:,} more)" if len(errors) > 1 else ""
    hint = "Send a JSON object, with the header Content-Type: application/json." if where == "body" else _SEE_DOCS
    return problem(422, f"{where}: {message}{more}", hint)
