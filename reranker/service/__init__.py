"""The HTTP service: rerank endpoints in the shapes that clients already speak, and two-stage search."""

from reranker.service.app import create_app

__all__ = ["create_app"]
