"""Rerank BM25's hits with a small student distilled from a large relevance teacher."""

from reranker.errors import RerankerError
from reranker.first_stage import FirstStage, Hit
from reranker.products import Product
from reranker.reranker import Ranked, Reranker
from reranker.search import Result, SearchResponse, TwoStageSearch

__version__ = "0.1.0"
__all__ = ["FirstStage", "Hit", "Product", "Ranked", "Reranker", "RerankerError", "Result", "SearchResponse", "TwoStageSearch", "__version__"]
