"""The endpoints: rerank in Cohere's, Jina's and text-embeddings-inference's shapes, search, and operations."""

from __future__ import annotations

import uuid
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from reranker.errors import FirstStageError
from reranker.first_stage import MAX_K
from reranker.products import Product
from reranker.service.engine import Engine
from reranker.service.models import QUERY_LIMITS, RerankAnswer, RerankRequest, SearchAnswer, TextResult, TextsRequest

# Answers skip response validation, for speed. The response models only describe them.

MODEL_HEADER = "X-Reranker-Model"


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

    async def rerank(body: RerankRequest, version: str) -> JSONResponse:
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

    @router.post("/v2/rerank", response_model=RerankAnswer, summary="Rerank documents (Cohere v2)")
    async def rerank_v2(body: RerankRequest) -> Response:
        """Score each document for the query and return them best first."""
        return await rerank(body, "2")

    @router.post("/v1/rerank", response_model=RerankAnswer, summary="Rerank documents (Cohere v1, Jina)")
    async def rerank_v1(body: RerankRequest) -> Response:
        """As `/v2/rerank`."""
        return await rerank(body, "1")

    @router.post("/rerank", response_model=list[TextResult], summary="Rerank texts (text-embeddings-inference)")
    async def rerank_texts(body: TextsRequest) -> Response:
        """Score each text for the query and return them best first. The header `X-Reranker-Model` names the student."""
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
        return Response(response.as_json(), media_type="application/json")

    return router


def operations_router(engine: Engine) -> APIRouter:
    router = APIRouter(tags=["operations"])

    @router.get("/health", summary="Is the process alive?")
    async def health() -> dict[str, str]:
        return {"status": "alive"}

    @router.get("/ready", summary="Is the student loaded, and does the first stage answer?")
    async def ready() -> Response:
        """200 if everything works; 503 if the first stage does not answer (the rerank endpoints still work)."""
        first_stage: dict[str, Any] | None = None
        error: FirstStageError | None = None
        try:
            products = await engine.count()
            if engine.searcher is not None:
                first_stage = {"name": engine.searcher.first_stage.name, "products": products}
        except FirstStageError as caught:
            error = caught
            first_stage = {"error": {"message": error.message, "hint": error.hint}}
        return JSONResponse({"ready": error is None, "student": engine.student.model, "first_stage": first_stage}, 200 if error is None else 503)

    @router.get("/metrics", summary="Prometheus metrics")
    async def metrics() -> Response:
        return Response(engine.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return router
