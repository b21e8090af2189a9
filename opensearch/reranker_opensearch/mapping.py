"""The mapping of our indexes, the document of a product, and the mark by which our indexes are recognised."""

from __future__ import annotations

from typing import Any

from reranker.embedded import field_text
from reranker.errors import FirstStageError
from reranker.first_stage import FIELD_BOOSTS
from reranker.products import Product
from reranker_opensearch.connection import Cluster

OWNER = "distilled-reranker"
LAYOUT = 1  # raise it when the mapping or the documents change: indexes of another layout are refused until rebuilt

MAPPING: dict[str, Any] = {
    "dynamic": "strict",
    "_meta": {"owner": OWNER, "layout": LAYOUT},
    "properties": {
        "id": {"type": "keyword"},
        "position": {"type": "long"},  # the product's place in the catalogue; breaks ties
        **{field: {"type": "text", "analyzer": "english"} for field in FIELD_BOOSTS},
        "product": {"type": "object", "enabled": False},  # the whole product, returned with hits
    },
}


def settings(shards: int) -> dict[str, Any]:
    """Return the settings of an index during indexing: no replicas, no refresh."""
    return {"number_of_shards": shards, "number_of_replicas": 0, "refresh_interval": "-1"}


def document(product: Product, position: int) -> dict[str, Any]:
    """Return a product's document."""
    searched = {field: field_text(product, field) for field in FIELD_BOOSTS}
    return {"id": str(product["id"]), "position": position, **{f: text for f, text in searched.items() if text}, "product": product}


def indexes_behind(cluster: Cluster, name: str) -> dict[str, dict[str, Any]]:
    """Return the indexes behind ``name`` (an alias or an index), each with the ``_meta`` of its mapping.

    Raises:
        FirstStageError: the cluster does not answer.
    """
    with cluster.errors():
        found = cluster.client.indices.get(index=name, params={"ignore_unavailable": "true", "allow_no_indices": "true"})
    return {index: about["mappings"].get("_meta") or {} for index, about in found.items()}


def check_ours(cluster: Cluster, name: str, indexes: dict[str, dict[str, Any]]) -> None:
    """Check that this project made the indexes.

    Raises:
        FirstStageError: it did not make one of them.
    """
    for index, meta in indexes.items():
        if meta.get("owner") != OWNER:
            behind = "" if index == name else f" (behind the alias '{name}')"
            raise FirstStageError(
                f"The index '{index}'{behind} at {cluster.url} was not made by 'reranker index'; it was not changed.",
                hint="Use another name: --index NAME",
            )
