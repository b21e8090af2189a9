"""Augmentation: unlabelled (query, product) pairs for the teacher to label.

Rooms: ``query_log``, ``catalogue_queries`` (over ``titles`` and ``product_types``) and ``generated_queries`` bring queries;
``chooser`` keeps those worth their labels; ``spellings`` varies them; ``candidates`` finds each query's products;
``mixture`` composes them. ``wordings`` makes many more queries, without products, for what only reads queries.
"""

from reranker_distill.augmentation.catalogue_queries import catalogue_queries
from reranker_distill.augmentation.mixture import augment, is_variant
from reranker_distill.augmentation.query_log import read_query_log
from reranker_distill.augmentation.wordings import wordings

__all__ = ["augment", "catalogue_queries", "is_variant", "read_query_log", "wordings"]
