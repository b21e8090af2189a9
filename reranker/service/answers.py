"""Models of the endpoints' answers, for the OpenAPI description."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

OLD_REASON_KEY = "Old name of `fallback_reason`, kept for one release."


class RerankResult(BaseModel):
    index: int = Field(description="Place of the document in the request, from 0.")
    relevance_score: float = Field(description="0 to 1, at most 7 decimals.")
    document: Any = Field(None, description='With return_documents: the object as it was sent, or {"text": …}.')


class RerankAnswer(BaseModel):
    id: str
    model: str = Field(description="Name and version of the student's bundle.")
    results: list[RerankResult] = Field(description="Best first; equal scores keep the order of the request.")
    meta: dict[str, Any]
    usage: dict[str, int] = Field(description="Always 0: nothing is metered. Some clients require the field.")


class TextResult(BaseModel):
    index: int
    score: float
    text: str | None = None


class FoundProduct(BaseModel):
    rank: int
    id: str
    bm25_rank: int
    bm25_score: float
    student_score: float | None = Field(description="Null if the student did not score this hit.")
    product: dict[str, Any]


class SearchAnswer(BaseModel):
    query: str
    reranked: bool
    fallback_reason: str | None = Field(description="Why the hits kept BM25 order; null if they were reranked.")
    why_not: str | None = Field(description=OLD_REASON_KEY, deprecated=True)
    scored: int = Field(description="How many hits the student scored.")
    model: str | None = Field(description="Name and version of the student's bundle; null if it did not score.")
    took_ms: dict[str, float] = Field(description="Milliseconds per stage: first_stage, rerank, total.")
    results: list[FoundProduct]


class Problem(BaseModel):
    message: str = Field(description="What went wrong, and where.")
    hint: str | None = Field(description="What to do about it.")


class ErrorAnswer(BaseModel):
    error: Problem
    detail: str = Field(description="The message again: Jina's clients read it here.")
