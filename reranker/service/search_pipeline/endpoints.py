"""The endpoints that a search pipeline calls: one rewrites a search request, one scores its hits."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from reranker.errors import BusyError, InputError, LateError, NoTimeError, RerankerError
from reranker.first_stage import FIELD_BOOSTS
from reranker.search import TOO_MANY_WAIT, WOULD_BE_LATE
from reranker.service.engine import Engine
from reranker.service.models import OLD_REASON_KEY, ErrorAnswer
from reranker.service.parsing import body_of, described_by
from reranker.service.search_pipeline.hit_scoring import product_of, scores_of_page
from reranker.service.search_pipeline.request_rewriting import PipelineSettings, Window, as_json_text, rewrite, window_of

log = logging.getLogger(__name__)

REWRITE_PATH = "/opensearch/request"
SCORE_PATH = "/opensearch/rerank"
_MOST_HITS = 10_000
_NOT_RERANKED: dict[int | str, dict[str, Any]] = {409: {"model": ErrorAnswer, "description": "The hits of such a search are not reranked"}}
_MARGIN_MS = 20.0  # for the way back to OpenSearch


class SearchRequest(BaseModel):
    """A search request's body as OpenSearch holds it, and the pipeline's settings."""

    model_config = ConfigDict(json_schema_extra={"example": {"request": {"query": {"match": {"title": "laptop"}}}, "settings": {"fields": {"title": "title"}}}})

    request: dict[str, Any]
    settings: PipelineSettings


class RewrittenAnswer(BaseModel):
    request: str = Field(description="The request to run, as JSON text.")
    fallback_reason: str | None = Field(description="Why its hits will not be reranked; null if they will.")
    why_not: str | None = Field(description=OLD_REASON_KEY, deprecated=True)


class HitsRequest(SearchRequest):
    """The search request as the client sent it, and the documents of its hits, in BM25 order."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "request": {"query": {"match": {"title": "laptop"}}},
                "documents": [{"title": "Laptop bag"}, {"title": "HP ProBook 450"}],
                "settings": {"fields": {"title": "title"}},
            }
        }
    )

    documents: list[dict[str, Any]] = Field(min_length=1, max_length=_MOST_HITS, description="The hits' sources, in BM25 order.")


class HitsAnswer(BaseModel):
    scores: list[float] = Field(description="One score per hit, in the order of the hits. Sorting by them brings the wanted page to the front.")
    fallback_reason: str | None = Field(description="Why the hits keep BM25 order; null if they are reranked.")
    why_not: str | None = Field(description=OLD_REASON_KEY, deprecated=True)


class NotReranked(RerankerError):
    """A search whose hits must not be reranked; the pipeline then leaves them as they are."""

    http_status = 409


def pipeline_router(engine: Engine) -> APIRouter:
    """Return the endpoints; OpenSearch's connectors call them."""
    router = APIRouter(tags=["inside OpenSearch"])

    @router.post(
        REWRITE_PATH,
        response_model=RewrittenAnswer,
        summary="Rewrite a search request so that its hits can be reranked",
        openapi_extra=described_by(SearchRequest),
    )
    async def rewrite_request(request: Request) -> Response:
        """The new request fetches enough hits, with the fields that the student reads. A request whose hits cannot be reranked comes back unchanged."""
        body = await body_of(request, SearchRequest, engine)

        def rewritten() -> tuple[str, str | None]:
            new = rewrite(body.request, body.settings.with_fields(engine.student.pin().template.fields))
            try:
                return as_json_text(new.request), new.fallback_reason
            except ValueError:
                raise InputError("request: holds a number that is not finite.", hint="JSON has no NaN and no Infinity.") from None

        text, fallback_reason = await engine.off_loop(rewritten)
        if fallback_reason is not None:
            engine.metrics.not_reranked.labels(fallback_reason).inc()
        return JSONResponse({"request": text, **_reason(fallback_reason)})

    @router.post(SCORE_PATH, response_model=HitsAnswer, responses=_NOT_RERANKED, summary="Score the hits of a search", openapi_extra=described_by(HitsRequest))
    async def score_hits(request: Request) -> Response:
        """Sorting by the scores brings the wanted page to the front. If the student fails or is late, that is BM25 order: see `fallback_reason`."""
        body = await body_of(request, HitsRequest, engine)

        def read() -> tuple[Window, list[dict[str, Any]]]:
            window, fallback_reason = window_of(body.request, body.settings)
            if window is None:
                raise NotReranked(f"Not reranked: {fallback_reason}.", hint="Such a search needs no pipeline: search_pipeline=_none")
            template = engine.student.pin().template.fields
            known = {*template, *FIELD_BOOSTS}  # other fields would be read for nothing
            fields = {name: path for name, path in body.settings.with_fields(template).fields.items() if name in known}
            return window, [product_of(document, fields) for document in body.documents[: body.settings.k]]

        window, products = await engine.off_loop(read)
        relevance, fallback_reason = await _relevance(engine, window.words, products, body.settings.budget_ms)
        if fallback_reason is not None:
            engine.metrics.not_reranked.labels(fallback_reason).inc()
        return JSONResponse({"scores": scores_of_page(relevance, window, len(body.documents)), **_reason(fallback_reason)})

    return router


def _reason(fallback_reason: str | None) -> dict[str, str | None]:
    return {"fallback_reason": fallback_reason, "why_not": fallback_reason}


async def _relevance(engine: Engine, words: str, products: list[Any], budget_ms: float) -> tuple[np.ndarray | None, str | None]:
    """Return the student's scores, float32 (n,), or None and the fallback reason."""
    budget_s = max(budget_ms - _MARGIN_MS, 1.0) / 1e3
    try:
        scores, _ = await asyncio.wait_for(engine.scores(words, products, within_s=budget_s), budget_s)
    except (TimeoutError, LateError):
        return None, "the student was late"
    except NoTimeError:
        return None, WOULD_BE_LATE
    except BusyError:
        return None, TOO_MANY_WAIT
    except RerankerError as error:
        log.warning("hits keep BM25 order: %s", error.message)
        return None, f"the student failed: {type(error).__name__}"
    except Exception as error:  # the shopper gets BM25 order, whatever the student does
        log.exception("the student failed")
        return None, f"the student failed: {type(error).__name__}"
    if not np.isfinite(scores).all():
        return None, "the student gave unusable scores"
    return scores, None
