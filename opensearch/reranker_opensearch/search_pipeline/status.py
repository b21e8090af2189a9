"""Checks whether a pipeline is complete and reranks a live search. If it does not, each part is tested on its own."""

from __future__ import annotations

import json
import time
from typing import Any, NamedTuple

from opensearchpy import exceptions as osx

from reranker_opensearch.connection import Cluster, reason_of
from reranker_opensearch.search_pipeline.cluster_settings import needed_changes, read_note
from reranker_opensearch.search_pipeline.definition import REWRITE, SCORE, is_ours, models_of
from reranker_opensearch.search_pipeline.installation import find_pipeline
from reranker_opensearch.search_pipeline.ml_commons import USABLE, MLCommons


class Check(NamedTuple):
    """One check: what was checked, whether it passed, and what was found."""

    what: str
    right: bool
    seen: str


class Status(NamedTuple):
    """All checks; the pipeline works if every one passed."""

    name: str
    checks: list[Check]

    @property
    def works(self) -> bool:
        return all(check.right for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        return {"pipeline": self.name, "works": self.works, "checks": [check._asdict() for check in self.checks]}


def status(cluster: Cluster, name: str, index: str, query: str | None = None) -> Status:
    """Check a pipeline and search ``index`` through it, for ``query`` or the first words of one of its products.

    Raises:
        FirstStageError: the cluster cannot be reached or refuses access.
    """
    checks: list[Check] = []
    with cluster.errors():
        pipeline = find_pipeline(cluster, name)
        if not pipeline or not is_ours(pipeline):
            seen = "not made by 'reranker pipeline'" if pipeline else "missing; install it: reranker pipeline install"
            return Status(name, [Check("search pipeline", False, seen)])
        checks.append(Check("search pipeline", True, str(pipeline.get("description", ""))))
        checks.append(_settings(cluster, name))
        models = models_of(pipeline)
        checks += [_model(cluster, purpose, models.get(purpose, "")) for purpose in (REWRITE, SCORE)]
        checks += _search(cluster, name, index, query)
        if not checks[-1].right:
            probe = {"request": json.dumps({"query": {"match": {"title": "probe"}}}), "documents": "[{}]"}
            checks += [_ask_model(cluster, purpose, models.get(purpose, ""), probe) for purpose in (REWRITE, SCORE)]
    return Status(name, checks)


def _settings(cluster: Cluster, name: str) -> Check:
    service = read_note(cluster)["pipelines"].get(name)
    missing = needed_changes(cluster, service) if service else {}
    if missing:
        return Check("cluster settings", False, f"the cluster may not call {service}: it needs {json.dumps(missing)}; install the pipeline again")
    return Check("cluster settings", True, f"the cluster may call {service}" if service else "no record of an installation")


def _model(cluster: Cluster, purpose: str, model_id: str) -> Check:
    model = MLCommons(cluster).model(model_id) if model_id else None
    state = (model or {}).get("model_state", "missing")
    return Check(f"model to {purpose}", state in USABLE, str(state).lower().replace("_", " "))


def _search(cluster: Cluster, name: str, index: str, query: str | None) -> list[Check]:
    """Search with and without the pipeline."""
    words = query or _words_of_a_product(cluster, index)
    if not words:
        return [Check("live search", False, f"'{index}' holds no document to search for")]
    body = {"query": {"query_string": {"query": words}} if query is None else {"simple_query_string": {"query": query}}, "size": 5}
    plain = cluster.client.search(index=index, body=body, params={"search_pipeline": "_none"})
    began = time.perf_counter()
    through = cluster.client.search(index=index, body=body, params={"search_pipeline": name})
    took = round((time.perf_counter() - began) * 1e3)
    hits = through["hits"]["hits"]
    bm25 = {hit["_id"]: hit["_score"] for hit in plain["hits"]["hits"]}
    moved = [hit["_id"] for hit in hits] != list(bm25)
    reranked = bool(hits) and all(hit["_score"] <= 1.0 for hit in hits) and any(hit["_score"] != bm25.get(hit["_id"]) for hit in hits)
    scores = ", ".join(f"{hit['_score']:.4f}" for hit in hits)
    late = reranked and all(hit["_score"] < 0 for hit in hits)
    if not hits:
        seen = f'"{words}" finds nothing'
    elif late:
        seen = f'"{words}": {len(hits)} hits in BM25 order, because the student was late or failed; the log of the service gives the reason'
    elif reranked:
        seen = f'"{words}": {len(hits)} hits reranked{"" if moved else " (to the same order)"} in {took} ms, relevance {scores}'
    else:
        seen = f'"{words}": {len(hits)} hits in BM25 order, not reranked'
    return [Check("live search", reranked and not late, seen)]


def _words_of_a_product(cluster: Cluster, index: str) -> str:
    found = cluster.client.search(index=index, body={"size": 1, "query": {"match_all": {}}}, params={"search_pipeline": "_none"})["hits"]["hits"]
    if not found:
        return ""
    texts = [value for value in _strings(found[0]["_source"]) if any(c.isalpha() for c in value)]
    words = "".join(c if c.isalnum() else " " for c in max(texts, key=len, default="")).split()
    return " ".join(words[:3]).lower()


def _strings(node: Any) -> list[str]:
    if isinstance(node, str):
        return [node]
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
    return [text for one in inner for text in _strings(one)]


def _ask_model(cluster: Cluster, purpose: str, model_id: str, parameters: dict[str, str]) -> Check:
    """Make the cluster call the service outside of a search, which shows the error."""
    what = f"the cluster's call to {purpose}"
    if not model_id:
        return Check(what, False, "the pipeline names no model")
    try:
        answer = MLCommons(cluster).predict(model_id, parameters)
    except osx.TransportError as error:
        return Check(what, False, reason_of(error))
    statuses = [part.get("status_code") for part in answer.get("inference_results", [])]
    return Check(what, all(status in (None, 200) for status in statuses), f"answered {statuses}")
