"""The endpoints: rerank in Cohere's, Jina's and text-embeddings-inference's shapes, search, and operations."""

from __future__ import annotations

import asyncio
import uuid
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from reranker.first_stage import MAX_K
from reranker.products import Product
from reranker.service.access import KNOWN
from reranker.service.engine import Engine
from reranker.service.models import QUERY_LIMITS, RerankAnswer, RerankRequest, SearchAnswer, TextResult, TextsRequest
from reranker.service.parsing import body_of, described_by
from reranker.service.readiness import Readiness

# Answers skip response validation, for speed. The response models only describe them.

MODEL_HEADER = "X-Reranker-Model"
_SMALL_PAGE = 100
"""The JSON of a page of more results is made in a thread."""


def _as_product(document: str | dict[str, Any]) -> Product | str:
    """Cohere's ``{"text": …}`` is a plain text; an object with a title is a product, and a text beside it describes it."""
    if not isinstance(document, dict) or not isinstance(document.get("text"), str):
        return document
    title = document.get("title")
    if not isinstance(title, str) or not title.strip():
        return str(document["text"])
    return document if document.get("description") else {**document, "description": document["text"]}


def rerank_router(engine: Engine) -> APIRouter:
    router = APIRouter(tags=["rerank"])

    async def rerank(request: Request, version: str) -> JSONResponse:
        body = await body_of(request, RerankRequest, engine)
        ranking = await engine.rank(body.query, [_as_product(document) for document in body.documents])
        results: list[dict[str, Any]] = []
        for index, score in ranking.best_first[: body.top_n]:
            result: dict[str, Any] = {"index": index, "relevance_score": score}
            if body.return_documents:
                document = body.documents[index]
                result["document"] = {"text": document} if isinstance(document, str) else document
            results.append(result)
        return JSONResponse(
            {
                "id": str(uuid.uuid4()),
                "model": ranking.model,
                "results": results,
                "meta": {"api_version": {"version": version}},
                "usage": {"total_tokens": 0, "prompt_tokens": 0},
            }
        )

    @router.post("/v2/rerank", response_model=RerankAnswer, summary="Rerank documents (Cohere v2)", openapi_extra=described_by(RerankRequest))
    async def rerank_v2(request: Request) -> Response:
        """Score each document for the query and return them best first."""
        return await rerank(request, "2")

    @router.post("/v1/rerank", response_model=RerankAnswer, summary="Rerank documents (Cohere v1, Jina)", openapi_extra=described_by(RerankRequest))
    async def rerank_v1(request: Request) -> Response:
        """As `/v2/rerank`."""
        return await rerank(request, "1")

    @router.post("/rerank", response_model=list[TextResult], summary="Rerank texts (text-embeddings-inference)", openapi_extra=described_by(TextsRequest))
    async def rerank_texts(request: Request) -> Response:
        """Score each text for the query and return them best first. The header `X-Reranker-Model` names the student."""
        body = await body_of(request, TextsRequest, engine)
        ranking = await engine.rank(body.query, body.texts, raw=body.raw_scores)
        results = [{"index": i, "score": score} | ({"text": body.texts[i]} if body.return_text else {}) for i, score in ranking.best_first]
        return JSONResponse(results, headers={MODEL_HEADER: quote(ranking.model, safe="@ ")})  # a bundle's name may hold characters that a header may not

    return router


def search_router(engine: Engine) -> APIRouter:
    router = APIRouter(tags=["search"])

    @router.get("/search", response_model=SearchAnswer, summary="Search the catalogue in two stages")
    async def search(
        q: Annotated[str, Query(description="What the shopper typed; at most 1,000 characters.", json_schema_extra=QUERY_LIMITS)],
        k: Annotated[
            int | None,
            Query(
                description="How many hits the student reorders, 1 to 1,000. The default is the service's --k.",
                json_schema_extra={"minimum": 1, "maximum": MAX_K},
            ),
        ] = None,
        size: Annotated[int, Query(ge=1, le=1000, description="Results on the page.")] = 10,
        start: Annotated[int, Query(ge=0, description="Results before the page; start + size is at most 10,000.")] = 0,
        rerank: Annotated[bool, Query(description="False returns BM25 order.")] = True,
    ) -> Response:
        """BM25 finds, the student reranks the first k. If it fails or would be late, BM25 order is returned: see `reranked` and `fallback_reason`."""
        response = await engine.search(q, k=k, size=size, start=start, rerank=rerank)
        content = response.as_json() if len(response.results) <= _SMALL_PAGE else await asyncio.to_thread(response.as_json)
        return Response(content, media_type="application/json")

    return router


def operations_router(engine: Engine, readiness: Readiness) -> APIRouter:
    router = APIRouter(tags=["operations"])

    @router.get("/health", summary="Is the process alive?")
    async def health() -> dict[str, str]:
        return {"status": "alive"}

    @router.get("/ready", summary="Is the student loaded, and does the first stage answer?")
    async def ready(request: Request) -> Response:
        """200 if everything works; 503 if the first stage does not answer (the rerank endpoints still work). The reason is told to those with an API key."""
        state = await readiness.check()
        first_stage: dict[str, Any] | None = None
        if state.error is not None:
            shown = (state.error.message, state.error.hint) if request.scope.get(KNOWN) else ("The first stage does not answer.", "The service's log says why.")
            first_stage = {"error": {"message": shown[0], "hint": shown[1]}}
        elif engine.searcher is not None:
            first_stage = {"name": engine.searcher.first_stage.name, "products": state.products}
        is_ready = state.error is None
        return JSONResponse({"ready": is_ready, "student": engine.student.model, "first_stage": first_stage}, 200 if is_ready else 503)

    @router.get("/metrics", summary="Prometheus metrics")
    async def metrics() -> Response:
        return Response(engine.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return router
