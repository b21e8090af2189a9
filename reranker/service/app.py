"""The service's app, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI

import reranker as package
from reranker.reranker import Reranker
from reranker.rollout import Rollout, SwitchableReranker
from reranker.search import TwoStageSearch
from reranker.service.access import RequireKey
from reranker.service.after_answer import AfterAnswer
from reranker.service.answers import ErrorAnswer
from reranker.service.api_keys import ApiKeys
from reranker.service.body_limit import BodyLimit
from reranker.service.bundles import bundles_router
from reranker.service.cache_metrics import CacheMetrics
from reranker.service.deadline import Deadline
from reranker.service.endpoints import operations_router, rerank_router, search_router
from reranker.service.engine import Engine
from reranker.service.limits import DEFAULT_LIMITS, Limits
from reranker.service.metrics import CountRequests, Metrics
from reranker.service.problems import add_handlers
from reranker.service.rollout_metrics import RolloutMetrics

_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "The body is not JSON"},
    401: {"model": ErrorAnswer, "description": "The service has API keys, and none came"},
    408: {"model": ErrorAnswer, "description": "The body did not arrive in time"},
    413: {"model": ErrorAnswer, "description": "The body is too large"},
    422: {"model": ErrorAnswer, "description": "The input cannot be used"},
    503: {
        "model": ErrorAnswer,
        "description": "Too many requests are waiting, or the request would not be or was not done in its time; Retry-After says when to try again",
    },
}
_SEARCH_ERRORS: dict[int | str, dict[str, Any]] = {
    401: _ERRORS[401],
    422: _ERRORS[422],
    503: {
        "model": ErrorAnswer,
        "description": "The first stage does not answer, too many requests are waiting even for BM25 order, or the request's time is up",
    },
}


def create_app(
    reranker: Reranker | SwitchableReranker,
    searcher: TwoStageSearch | None = None,
    *,
    limits: Limits = DEFAULT_LIMITS,
    keys: ApiKeys | None = None,
    rollout: Rollout | None = None,
    more: Sequence[Callable[[Engine], APIRouter]] = (),
) -> FastAPI:
    """Return the ASGI app. It closes ``searcher`` and ``rollout`` when it shuts down.

    Args:
        reranker: the student behind the rerank endpoints.
        searcher: what ``GET /search`` asks; None answers 503 there.
        limits: of one request and of many; beyond them requests are refused.
        keys: what lets a client in; None lets everybody in.
        rollout: owner of ``reranker``, for the endpoints that change its bundle; None leaves them out.
        more: make further endpoints, from the engine.
    """
    metrics = Metrics()
    metrics.registry.register(CacheMetrics(reranker))
    engine = Engine(reranker, searcher, metrics=metrics, limits=limits)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with engine.lag.watched():
            yield
        engine.close()
        if rollout is not None:
            rollout.close()

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
    app.include_router(search_router(engine), responses=_SEARCH_ERRORS)
    for make_router in more:
        app.include_router(make_router(engine), responses=_ERRORS)
    app.include_router(operations_router(engine))
    if rollout is not None:
        rollout.observer = RolloutMetrics(metrics, rollout)
        app.include_router(bundles_router(rollout, has_keys=keys is not None))
        app.add_middleware(AfterAnswer)
    # the last one added meets a request first
    app.add_middleware(BodyLimit, max_bytes=limits.max_body_bytes)
    if keys is not None:
        app.add_middleware(RequireKey, keys=keys, metrics=metrics, max_body_bytes=limits.max_body_bytes)
    app.add_middleware(Deadline, timeout_ms=limits.timeout_ms, lag=engine.lag, metrics=metrics)
    app.add_middleware(CountRequests, metrics=metrics)
    return app
