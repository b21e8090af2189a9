"""Builds the service's ASGI app from its routers and middleware."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

import reranker as package
from reranker.reranker import Reranker
from reranker.rollout import Rollout
from reranker.rollout.after_answer import AfterAnswer
from reranker.search import TwoStageSearch
from reranker.service.access import AllowedHosts, RequireKey
from reranker.service.api_keys import ApiKeys
from reranker.service.bodies import ReadBody
from reranker.service.bundles import bundles_router
from reranker.service.connections import Connections, TrackConnection
from reranker.service.deadline import Deadline
from reranker.service.endpoints import operations_router, rerank_router, search_router
from reranker.service.engine import Engine
from reranker.service.limit_metrics import LimitMetrics
from reranker.service.limits import DEFAULT_LIMITS, OPEN, Limits
from reranker.service.memory import BodyMemory, trim
from reranker.service.metrics import CountRequests, Metrics
from reranker.service.models import ErrorAnswer, RerankRequest, TextsRequest
from reranker.service.parsing import describe_bodies
from reranker.service.problems import add_handlers
from reranker.service.readiness import Readiness
from reranker.service.search_pipeline.endpoints import HitsRequest, SearchRequest, pipeline_router

_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "The body is not JSON"},
    401: {"model": ErrorAnswer, "description": "The API key is missing or unknown"},
    408: {"model": ErrorAnswer, "description": "The body did not arrive in time"},
    413: {"model": ErrorAnswer, "description": "The body is too large"},
    415: {"model": ErrorAnswer, "description": "The body's content type is not JSON"},
    422: {"model": ErrorAnswer, "description": "The input cannot be used"},
    503: {
        "model": ErrorAnswer,
        "description": "Too many requests are waiting, or the time-out would pass or has passed; Retry-After says when to try again",
    },
}
_SEARCH_ERRORS: dict[int | str, dict[str, Any]] = {
    401: _ERRORS[401],
    422: _ERRORS[422],
    503: {
        "model": ErrorAnswer,
        "description": "The first stage does not answer, too many requests are waiting even for BM25 order, or the time-out has passed",
    },
}


def create_app(
    student: Reranker | Rollout,
    searcher: TwoStageSearch | None = None,
    *,
    limits: Limits = DEFAULT_LIMITS,
    keys: ApiKeys | None = None,
    hosts: Sequence[str] | None = None,
) -> FastAPI:
    """Return the ASGI app, for ``run_until_stopped``; ``app.state.engine`` is its ``Engine``.

    It closes ``searcher`` and a rollout when it shuts down.

    Args:
        student: scores for the rerank endpoints. A ``Rollout`` adds the endpoints that change its bundle.
        searcher: answers ``GET /search``; without one that endpoint returns HTTP 503.
        limits: limits per request and for all requests together; requests over them are refused.
        keys: accepted API keys; None accepts every request.
        hosts: host names that requests may name, as in ``AllowedHosts``; None allows all.
    """
    metrics = Metrics(student)
    bodies = BodyMemory(limits.memory.bodies)
    connections = Connections(limits, limits.memory.answers)
    metrics.registry.register(LimitMetrics(limits.memory, bodies, connections, None if searcher is None else searcher.first_stage))
    engine = Engine(student, searcher, metrics=metrics, limits=limits)
    readiness = Readiness(None if searcher is None else searcher.first_stage)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        trimming = asyncio.create_task(trim())
        async with engine.lag.watched():
            yield
        trimming.cancel()
        readiness.close()
        engine.close()
        if isinstance(student, Rollout):
            student.close()

    app = FastAPIOffline(  # serves Swagger UI from the package, for machines without internet access
        title="Distilled reranker",
        description="Reranks products for a query with a small distilled student, and searches a catalogue in two stages.",
        version=package.__version__,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.engine = engine
    app.state.connections = connections
    app.state.open_paths = set(OPEN)
    describe_bodies(app, (RerankRequest, TextsRequest, SearchRequest, HitsRequest))
    add_handlers(app)
    app.include_router(rerank_router(engine), responses=_ERRORS)
    app.include_router(search_router(engine), responses=_SEARCH_ERRORS)
    app.include_router(pipeline_router(engine), responses=_ERRORS)
    app.include_router(operations_router(engine, readiness))
    if isinstance(student, Rollout):
        app.include_router(bundles_router(student, has_keys=keys is not None))
        app.add_middleware(AfterAnswer)
    # the middleware added last sees a request first
    app.add_middleware(ReadBody, limits=limits, memory=bodies, metrics=metrics)
    if keys is not None:
        app.add_middleware(RequireKey, keys=keys, metrics=metrics, max_body_bytes=limits.max_body_bytes, open_paths=app.state.open_paths)
    app.add_middleware(Deadline, limits=limits, lag=engine.lag, metrics=metrics)
    if hosts is not None:
        app.add_middleware(AllowedHosts, names=hosts)
    app.add_middleware(CountRequests, metrics=metrics)
    app.add_middleware(TrackConnection, connections=connections)
    return app
