"""The HTTP service: rerank endpoints in the shapes of Cohere, Jina and text-embeddings-inference, two-stage search, and what a search pipeline calls."""

from reranker.service.app import create_app

__all__ = ["create_app"]
