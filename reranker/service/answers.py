"""What the endpoints answer; used for the API's description and to build its answers."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class RerankResult(BaseModel):
    index: int = Field(description="Place of the document in the request, from 0.")
    relevance_score: float = Field(description="0 to 1, at most 7 decimals.")
    document: Any = Field(None, description='With return_documents: the object as it was sent, or {"text": …}.')


class RerankAnswer(BaseModel):
    id: str
    model: str = Field(description="Name and version of the student's bundle.")
    results: list[RerankResult] = Field(description="Best first; equal scores keep the order of the request.")
    meta: dict[str, Any]
    usage: dict[str, int] = Field(description="Always 0: nothing is metered. Present because clients read it.")


class TextResult(BaseModel):
    index: int
    score: float
    text: str | None = None


class FoundProduct(BaseModel):
    rank: int
    id: str
    bm25_rank: int
    bm25_score: float
    student_score: float | None = Field(description="None where the student did not score this hit.")
    product: dict[str, Any]


class SearchAnswer(BaseModel):
    query: str
    reranked: bool
    fallback_reason: str | None = Field(description="Why the hits kept BM25 order.")
    scored: int = Field(description="How many hits the student scored.")
    model: str | None = Field(description="Name and version of the student's bundle, where it scored.")
    took_ms: dict[str, float] = Field(description="Milliseconds per stage: first_stage, rerank, total.")
    results: list[FoundProduct]


class Problem(BaseModel):
    message: str = Field(description="What went wrong, and where.")
    hint: str | None = Field(description="What to do about it.")


class ErrorAnswer(BaseModel):
    error: Problem
    detail: str = Field(description="The message once more, where clients of Jina's look for it.")
