"""The parts of a pipeline in the cluster: two connectors to the service, a model for each, and the pipeline itself."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import Field

from reranker.errors import InputError
from reranker.service.search_pipeline.endpoints import REWRITE_PATH, SCORE_PATH
from reranker.service.search_pipeline.request_rewriting import PipelineSettings
from reranker_opensearch.mapping import OWNER

REWRITE, SCORE = "rewrite", "score"
SCORE_FIELD = "_reranker_score"
"""The field that carries a hit's score from the scoring processor to the sorting one."""
_REWRITE_TIMEOUT_S = 1  # rewriting computes nothing
_NETWORK_MS = 200
"""Allowance for the network, added to the time limit of scoring."""
_CONNECTIONS = 100


class Wanted(PipelineSettings):
    """The pipeline to install, and its settings.

    The service enforces ``budget_ms``. If it does not answer, the cluster's time-out is this limit rounded up to whole seconds, the unit
    of a connector's time-outs in OpenSearch 2.x.

    Args:
        name: the pipeline's name, which clients give as ``search_pipeline``.
        service: the reranker's address as the cluster reaches it, ``http(s)://host[:port][/prefix]``.
        api_key: the service's API key, if it needs one.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")
    service: str
    api_key: str | None = Field(None, repr=False)


class Connector(NamedTuple):
    """The common name of a connector and its model, and the connector's body without the API key."""

    name: str
    body: dict[str, Any]

    def fingerprint(self, api_key: str | None) -> str:
        """Return a hash that identifies this connector in the cluster; the API key enters as a short salted hash."""
        content = json.dumps(self.body, sort_keys=True) + hashlib.sha256(f"{self.name}:{api_key or ''}".encode()).hexdigest()[:8]
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def with_secret(self, api_key: str | None) -> dict[str, Any]:
        """Return the body to send. OpenSearch encrypts the credential and never returns it."""
        return {**self.body, "description": f"{OWNER} {self.fingerprint(api_key)}", "credential": {"api_key": api_key or "none"}}


def check_service(url: str) -> str:
    """Return the service's address without a slash at its end.

    Raises:
        InputError: it is not an http or https URL, or contains a password.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        port = -1
    if port == -1 or parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise InputError(
            "The service's address is not an http or https URL.",
            hint="Give --service http://host:8000, as the cluster reaches it. Set the service's key as RERANKER_API_KEY.",
        )
    return url.strip().rstrip("/")


def connectors(wanted: Wanted) -> dict[str, Connector]:
    """Return the connectors by purpose."""
    score_s = math.ceil((wanted.budget_ms + _NETWORK_MS) / 1_000)
    settings_json = wanted.model_dump_json(include=set(PipelineSettings.model_fields))
    rewrite = {"url": wanted.service + REWRITE_PATH, "request_body": f'{{"request": ${{parameters.request}}, "settings": {settings_json}}}'}
    documents = '"documents": ${parameters.documents}'
    score = {"url": wanted.service + SCORE_PATH, "request_body": f'{{"request": ${{parameters.request}}, {documents}, "settings": {settings_json}}}'}
    return {REWRITE: _connector(wanted, REWRITE, rewrite, _REWRITE_TIMEOUT_S), SCORE: _connector(wanted, SCORE, score, score_s)}


def _connector(wanted: Wanted, purpose: str, action: Mapping[str, Any], timeout_s: int) -> Connector:
    name = connector_name(wanted.name, purpose)
    headers = {"Authorization": "Bearer ${credential.api_key}"} if wanted.api_key else {}
    body = {
        "name": name,
        "version": 1,
        "protocol": "http",
        "parameters": {"skip_validating_missing_parameters": "true"},  # a "${…}" in a product's text is not a parameter
        "client_config": {"connection_timeout": timeout_s, "read_timeout": timeout_s, "max_connection": _CONNECTIONS, "max_retry_times": 0},
        "actions": [{"action_type": "predict", "method": "POST", "headers": headers, **action}],
    }
    return Connector(name, body)


def connector_name(pipeline: str, purpose: str) -> str:
    return f"{OWNER} {pipeline} {purpose}"


def pipeline_body(wanted: Wanted, models: Mapping[str, str]) -> dict[str, Any]:
    """Return the search pipeline; ``models`` are the models' ids by purpose."""
    record = {"tag": "record the page's size", "ignore_failure": True, "sample_factor": 1.0}  # a factor of 1 changes nothing else
    rewrite = {
        "tag": "rewrite the request",
        "model_id": models[REWRITE],
        "ignore_failure": True,
        "input_map": [{"request": "$"}],
        "output_map": [{"rewritten": "request"}],
        "query_template": "${rewritten}",
    }
    score = {
        "tag": "score the hits",
        "model_id": models[SCORE],
        "ignore_failure": True,
        "ignore_missing": True,
        "input_map": [{"documents": documents_path(wanted.fields), "request": "_request.$"}],
        "output_map": [{SCORE_FIELD: "scores"}],
    }
    rerank = {"tag": "rerank the hits", "ignore_failure": True, "by_field": {"target_field": SCORE_FIELD, "remove_target_field": True}}
    truncate = {"tag": "truncate to the page", "ignore_failure": True}
    return {
        "description": f"{OWNER}: reranks the first {wanted.k} hits; a search whose reranking fails returns BM25 order",
        "request_processors": [{"oversample": record}, {"ml_inference": rewrite}],
        "response_processors": [{"ml_inference": score}, {"rerank": rerank}, {"truncate_hits": truncate}],
    }


def documents_path(fields: Mapping[str, str]) -> str:
    """Return the JSON path of the top-level fields of a hit's source that hold ``fields``."""
    tops = dict.fromkeys([*(path.split(".")[0] for path in fields.values()), "_"])  # with a single name the path would return its bare value
    return "$[" + ",".join(f"'{name}'" for name in tops) + "]"


def models_of(pipeline: Mapping[str, Any]) -> dict[str, str]:
    """Return the ids of the models that a pipeline in the cluster uses, by purpose."""
    found: dict[str, str] = {}
    for processor in pipeline.get("request_processors", []):
        if "ml_inference" in processor:
            found[REWRITE] = processor["ml_inference"].get("model_id", "")
    for processor in pipeline.get("response_processors", []):
        if "ml_inference" in processor:
            found[SCORE] = processor["ml_inference"].get("model_id", "")
    return found


def is_ours(pipeline: Mapping[str, Any]) -> bool:
    """Whether this project made a pipeline in the cluster."""
    return str(pipeline.get("description", "")).startswith(f"{OWNER}:")
