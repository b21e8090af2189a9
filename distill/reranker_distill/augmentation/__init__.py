"""Augmentation: unlabelled (query, product) pairs for the teacher to label.

``query_log`` and ``catalogue_queries`` (with ``titles`` and ``product_types``) bring queries;
``query_filter`` keeps those worth labelling; ``spellings`` varies them; ``candidates`` finds each query's products;
``augment`` composes them. ``query_texts`` makes many more queries, without products, to train query encoders.
"""

from reranker_distill.augmentation.augment import augment, is_variant
from reranker_distill.augmentation.catalogue_queries import catalogue_queries
from reranker_distill.augmentation.query_log import read_query_log
from reranker_distill.augmentation.query_texts import query_texts

__all__ = ["augment", "catalogue_queries", "is_variant", "query_texts", "read_query_log"]
