"""The service's app, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI

import reranker as package
from reranker.search import TwoStageSearch
from reranker.service.answers import ErrorAnswer
from reranker.service.body_limit import MAX_BODY_BYTES, BodyLimit
from reranker.service.endpoints import operations_router, rerank_router, search_router
from reranker.service.engine import Engine
from reranker.service.metrics import CountRequests, Metrics
from reranker.service.problems import add_handlers
from reranker.student import Reranker

_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "The body is not JSON"},
    413: {"model": ErrorAnswer, "description": "The body is too large"},
    422: {"model": ErrorAnswer, "description": "The input cannot be used"},
}
_NO_FIRST_STAGE: dict[int | str, dict[str, Any]] = {503: {"model": ErrorAnswer, "description": "The first stage does not answer"}}


def create_app(
    reranker: Reranker,
    searcher: TwoStageSearch | None = None,
    *,
    concurrency: int = 4,
    max_body_bytes: int = MAX_BODY_BYTES,
    more: Sequence[Callable[[Engine], APIRouter]] = (),
) -> FastAPI:
    """Return the ASGI app. It closes ``searcher`` when it shuts down.

    Args:
        reranker: the student behind the rerank endpoints.
        searcher: what ``GET /search`` asks; None answers 503 there.
        concurrency: how many scorings, and how many searches, run at once; further ones wait.
        max_body_bytes: a larger request body is answered with 413.
        more: make further endpoints, from the engine.
    """
    metrics = Metrics()
    engine = Engine(reranker, searcher, metrics=metrics, concurrency=concurrency)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        engine.close()

    app = FastAPI(
        title="Distilled reranker",
        description="Reranks products for a query with a small distilled student, and searches a catalogue in two stages.",
        version=package.__version__,
        docs_url=None,  # Swagger UI and ReDoc load their code from elsewhere; /docs is a page of our own
        redoc_url=None,
        lifespan=lifespan,
    )
    add_handlers(app)
    app.include_router(rerank_router(engine), responses=_ERRORS)
    app.include_router(search_router(engine), responses={422: _ERRORS[422], **_NO_FIRST_STAGE})
    for make_router in more:
        app.include_router(make_router(engine), responses=_ERRORS)
    app.include_router(operations_router(engine))
    app.add_middleware(BodyLimit, max_bytes=max_body_bytes)
    app.add_middleware(CountRequests, metrics=metrics)
    return app
