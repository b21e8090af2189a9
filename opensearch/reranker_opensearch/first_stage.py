"""BM25 retrieval by OpenSearch: a ``FirstStage``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from opensearchpy import exceptions as osx

from reranker.errors import FirstStageError, InputError
from reranker.first_stage import FIELD_BOOSTS, Hit, check_index_name
from reranker.products import Product
from reranker_opensearch.connection import Cluster
from reranker_opensearch.mapping import LAYOUT, check_ours, indexes_behind

IDS_PER_REQUEST = 1_000


class OpenSearchFirstStage:
    """BM25 over an index made by ``reranker index --opensearch``; a ``FirstStage``, safe to share between threads.

    Args:
        url: the cluster, as ``Cluster`` takes it.
        index: the alias that ``reranker index`` made.

    Raises:
        InputError: the URL or the name cannot be used.
        FirstStageError: there is no such index, it was not made by this project, or the cluster cannot be reached or refuses access.
    """

    name = "opensearch"
    in_process = False

    def __init__(self, url: str, index: str) -> None:
        self.index = check_index_name(index)
        self._cluster = Cluster(url)
        self._no_pipeline = {"search_pipeline": "_none"}  # BM25 order, even if the index's default pipeline reranks
        found = indexes_behind(self._cluster, index)
        if not found:
            raise self._missing()
        check_ours(self._cluster, index, found)
        if any(meta.get("layout") != LAYOUT for meta in found.values()):
            raise FirstStageError(f"The index '{index}' at {self._cluster.url} was made by another release.", hint=self._how_to_build())

    def search(self, query: str, k: int) -> list[Hit]:
        body = {
            "query": _any_field(query),
            "size": k,
            "sort": [{"_score": "desc"}, {"position": "asc"}],
            "_source": ["product"],
            "track_total_hits": False,
        }
        hits = self._search(body)
        return [Hit(h["_id"], float(h["_score"]), rank, h["_source"]["product"]) for rank, h in enumerate(hits, start=1)]

    def score(self, query: str, product_ids: Sequence[str]) -> dict[str, float]:
        found: dict[str, float] = {}
        for ids in _pieces(product_ids):
            # beside a filter, `should` is optional: products without any of the words get 0.0
            scored = {"bool": {"filter": [{"terms": {"id": ids}}], "should": [_any_field(query)]}}
            found |= {h["_id"]: float(h["_score"]) for h in self._search({"query": scored, "size": len(ids), "_source": False})}
        return {i: found[i] for i in product_ids if i in found}

    def get(self, product_ids: Sequence[str]) -> dict[str, Product]:
        found: dict[str, Product] = {}
        for ids in _pieces(product_ids):
            body = {"query": {"bool": {"filter": [{"terms": {"id": ids}}]}}, "size": len(ids), "_source": ["product"]}
            found |= {h["_id"]: h["_source"]["product"] for h in self._search(body)}
        return {i: found[i] for i in product_ids if i in found}

    def count(self) -> int:
        with self._cluster.errors():
            return int(self._cluster.client.count(index=self.index)["count"])

    def close(self) -> None:
        self._cluster.close()

    def _search(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the hits. A search interrupted by the removal of an old index is sent again: the alias points to the new one."""
        with self._cluster.errors():
            try:
                return self._send(body)
            except osx.TransportError as error:
                if error.status_code not in (404, 500, 503):
                    raise
            try:
                return self._send(body)
            except osx.NotFoundError as error:
                raise self._missing() from error

    def _send(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        params = {"allow_partial_search_results": "false", **self._no_pipeline}
        try:
            answer = self._cluster.client.search(index=self.index, body=body, params=params)
        except osx.TransportError as error:
            if self._no_pipeline and error.status_code == 400 and "[search_pipeline]" in str(error.info):
                self._no_pipeline = {}  # an old release without search pipelines
                return self._send(body)
            if "too many nested clauses" in str(error.info):
                raise InputError("The query has more words than OpenSearch accepts.", hint="Shorten it to some 200 words.") from error
            raise
        hits: list[dict[str, Any]] = answer["hits"]["hits"]
        return hits

    def _missing(self) -> FirstStageError:
        return FirstStageError(f"There is no index '{self.index}' at {self._cluster.url}.", hint=self._how_to_build())

    def _how_to_build(self) -> str:
        return f"Build it: reranker index --catalog FILE --opensearch {self._cluster.url} --index {self.index}"


def _any_field(query: str) -> dict[str, Any]:
    """Sum each field's BM25 score times its boost, as the embedded engine does."""
    return {"bool": {"should": [{"match": {field: {"query": query, "boost": boost}}} for field, boost in FIELD_BOOSTS.items()], "minimum_should_match": 1}}


def _pieces(product_ids: Sequence[str]) -> Iterator[list[str]]:
    rest = iter(dict.fromkeys(product_ids))
    while piece := list(islice(rest, IDS_PER_REQUEST)):
        yield piece
