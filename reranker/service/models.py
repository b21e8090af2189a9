"""Models of the endpoints' requests, with their limits, and of their answers, for the OpenAPI description."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from reranker.first_stage import MAX_QUERY_CHARACTERS

MAX_DOCUMENTS = 1_000
MAX_DOCUMENT_CHARACTERS = 20_000
OLD_REASON_KEY = "Old name of `fallback_reason`, kept for one release."


def _check_document(document: Any) -> Any:
    if isinstance(document, str):
        return _check_text(document)
    if not isinstance(document, dict):
        raise ValueError("expected a string or an object")
    if not any(isinstance(document.get(field), str) for field in ("text", "title")):
        raise ValueError("an object needs a 'text' or a 'title' (a string)")
    try:
        _check_text(json.dumps(document, ensure_ascii=False, allow_nan=False))
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    return document


def _check_text(text: str) -> str:
    if len(text) > MAX_DOCUMENT_CHARACTERS:
        raise ValueError(f"has {len(text):,} characters; at most {MAX_DOCUMENT_CHARACTERS:,} are allowed")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("contains half a surrogate pair, which is not valid Unicode text") from None
    return text


# These limits are for the OpenAPI description only. The checks above and the engine enforce them, with better messages.
QUERY_LIMITS: dict[str, Any] = {"minLength": 1, "maxLength": MAX_QUERY_CHARACTERS}
_TEXT_SCHEMA = {"type": "string", "maxLength": MAX_DOCUMENT_CHARACTERS}
_PRODUCT_SCHEMA = {"type": "object", "anyOf": [{"required": [field], "properties": {field: {"type": "string"}}} for field in ("text", "title")]}

Document = Annotated[str | dict[str, Any], BeforeValidator(_check_document), WithJsonSchema({"anyOf": [_TEXT_SCHEMA, _PRODUCT_SCHEMA]})]
Text = Annotated[str, AfterValidator(_check_text), WithJsonSchema(_TEXT_SCHEMA)]


class RerankRequest(BaseModel):
    """Cohere's and Jina's shape. Their other fields (``max_tokens_per_doc``, ``rank_fields``, …) are ignored."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"query": "gaming laptop", "documents": ["Laptop bag, 15 inch", {"title": "ROG Strix G15", "brand": "ASUS"}], "top_n": 1}}
    )

    query: str = Field(description="What the shopper typed; at most 1,000 characters.", json_schema_extra=QUERY_LIMITS)
    documents: list[Document] = Field(
        min_length=1,
        max_length=MAX_DOCUMENTS,
        description=f'Strings, {{"text": …}}, or products (title, brand, description, attributes); at most {MAX_DOCUMENT_CHARACTERS:,} characters each.',
    )
    top_n: int | None = Field(None, ge=1, description="How many results to return. The default is all.")
    return_documents: bool = Field(False, description="Whether each result carries its document.")
    model: Any = Field(None, description="Accepted and ignored: the service has one student.")


class TextsRequest(BaseModel):
    """text-embeddings-inference's shape. ``truncate`` is ignored: long texts are always truncated to the student's maximum length."""

    model_config = ConfigDict(json_schema_extra={"example": {"query": "gaming laptop", "texts": ["Laptop bag, 15 inch", "ASUS ROG Strix G15"]}})

    query: str = Field(description="What the shopper typed; at most 1,000 characters.", json_schema_extra=QUERY_LIMITS)
    texts: list[Text] = Field(min_length=1, max_length=MAX_DOCUMENTS, description=f"At most {MAX_DOCUMENT_CHARACTERS:,} characters each.")
    raw_scores: bool = Field(False, description="Return the student's raw output instead of relevance.")
    return_text: bool = Field(False, description="Whether each result carries its text.")


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
