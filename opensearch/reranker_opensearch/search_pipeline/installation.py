"""Installs, upgrades and removes a pipeline."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from opensearchpy import exceptions as osx

from reranker.errors import FirstStageError, InputError
from reranker_opensearch.connection import Cluster
from reranker_opensearch.mapping import OWNER, indexes_behind
from reranker_opensearch.search_pipeline.cluster_settings import apply_changes, needed_changes, read_note, undo
from reranker_opensearch.search_pipeline.definition import (
    REWRITE,
    SCORE,
    Connector,
    Wanted,
    connector_name,
    connectors,
    is_ours,
    models_of,
    pipeline_body,
)
from reranker_opensearch.search_pipeline.ml_commons import MLCommons

_OLDEST = (2, 16)  # the first whose ML Commons can rewrite requests
_PROCESSORS = {"request": ("oversample", "ml_inference"), "response": ("ml_inference", "rerank", "truncate_hits")}
_DEFAULT_PIPELINE = "index.search.default_pipeline"
_TEMPLATE_FIELDS = ("title", "brand", "description", "attributes")


def check_cluster(cluster: Cluster) -> None:
    """Check that the cluster can run a rerank pipeline.

    Raises:
        FirstStageError: its version or plugins do not support a rerank pipeline.
    """
    version = str(cluster.client.info()["version"]["number"])
    numbers = tuple(int(part) for part in version.split("-")[0].split(".")[:2])
    if numbers < _OLDEST:
        raise FirstStageError(
            f"OpenSearch at {cluster.url} is version {version}: its ML Commons cannot rewrite requests.",
            hint="Upgrade to 2.16 or later (2.19 is tested), or rerank outside of OpenSearch: reranker serve --opensearch URL",
        )
    processors = _processors(cluster)
    missing = [f"{kind} processor {name}" for kind, names in _PROCESSORS.items() for name in names if name not in processors[kind]]
    if missing:
        raise FirstStageError(
            f"OpenSearch at {cluster.url} lacks the search pipeline's {' and '.join(missing)}.",
            hint="Install the plugins opensearch-ml and opensearch-neural-search on every node; the full distribution has them.",
        )


def fields_of(cluster: Cluster, index: str, given: Mapping[str, str] | None) -> dict[str, str]:
    """Return the student's fields and their paths in the index's documents.

    Raises:
        InputError: the index has none of them.
        FirstStageError: there is no such index.
    """
    found = indexes_behind(cluster, index)
    if not found:
        raise FirstStageError(
            f"There is no index '{index}' at {cluster.url}.", hint=f"Index a catalogue first: reranker index --opensearch {cluster.url} --index {index}"
        )
    if all(meta.get("owner") == OWNER for meta in found.values()) and not given:
        return {field: f"product.{field}" for field in _TEMPLATE_FIELDS}  # these documents hold whole products
    mapped = _mapped_fields(cluster, index)
    wanted = dict(given) if given else {field: field for field in _TEMPLATE_FIELDS if field in mapped}
    unknown = [path for path in wanted.values() if path not in mapped and path.split(".")[0] not in mapped]
    if unknown or not wanted:
        what = f"has no field {', '.join(unknown)}" if unknown else f"has none of the fields {', '.join(_TEMPLATE_FIELDS)}"
        shown = ", ".join(sorted(mapped)[:30]) or "none"
        raise InputError(
            f"The index '{index}' {what}. It has: {shown}.",
            hint="Give the student's fields: --fields title=name,brand=vendor.name,description=text",
        )
    return wanted


def plan(cluster: Cluster, wanted: Wanted) -> dict[str, Any]:
    """Return what ``install`` would put into the cluster, without secrets."""
    return {
        "cluster_settings": needed_changes(cluster, wanted.service),
        "connectors": [connector.body for connector in connectors(wanted).values()],
        "search_pipeline": {wanted.name: pipeline_body(wanted, {REWRITE: "(its model's id)", SCORE: "(its model's id)"})},
    }


def install(
    cluster: Cluster,
    wanted: Wanted,
    *,
    index: str,
    default: bool = False,
    change_settings: bool = True,
    say: Callable[[str], None] = lambda _: None,
) -> list[str]:
    """Install the pipeline or update the existing one, without interrupting searches; return a description of each change.

    New models, each with its connector, are made beside the old ones. The pipeline is switched to them in one step, then the old
    ones are deleted. A failure before the switch leaves the cluster as it was.

    Args:
        cluster: the cluster.
        wanted: the pipeline.
        index: the index that the pipeline is for.
        default: make it the index's default, so that searches need no parameter.
        change_settings: change cluster settings that prevent calls to the service; otherwise they are an error.
        say: called with a description of each change.

    Raises:
        FirstStageError: the cluster refuses, or this project did not make the existing pipeline of that name.
    """
    with cluster.errors():
        existing = find_pipeline(cluster, wanted.name)
        if existing is not None and not is_ours(existing):
            raise _not_ours(cluster, wanted.name)
        changed: list[str] = []

        def did(what: str) -> None:
            changed.append(what)
            say(what)

        _settings(cluster, wanted, change_settings, did)
        ml = MLCommons(cluster)
        models, fresh = _models(ml, wanted, models_of(existing or {}), did)
        body = pipeline_body(wanted, models)
        if existing != body:
            try:
                cluster.client.search_pipeline.put(id=wanted.name, body=body)
            except BaseException:
                _discard(ml, fresh)
                raise
            did(f"search pipeline '{wanted.name}'")
        _sweep(ml, wanted.name, set(models.values()))
        if default:
            _make_default(cluster, wanted.name, index, did)
    return changed


def remove(cluster: Cluster, name: str, *, say: Callable[[str], None] = lambda _: None) -> list[str]:
    """Remove a pipeline with its models, and restore settings that no other pipeline of ours needs; return a description of each change.

    Raises:
        FirstStageError: the cluster refuses, or this project did not make the pipeline.
    """
    done: list[str] = []

    def did(what: str) -> None:
        done.append(what)
        say(what)

    with cluster.errors():
        existing = find_pipeline(cluster, name)
        if existing is not None and not is_ours(existing):
            raise _not_ours(cluster, name)
        for index in _indexes_with_default(cluster, name):
            cluster.client.indices.put_settings(index=index, body={_DEFAULT_PIPELINE: None})
            did(f"default pipeline of '{index}' removed")
        if existing is not None:
            cluster.client.search_pipeline.delete(id=name)
            did(f"search pipeline '{name}' removed")
        ml = MLCommons(cluster)
        ml.delete_key_makers()
        removed = _sweep(ml, name, set())
        if removed:
            did(f"{removed} models removed")
        restored, left = undo(cluster, name)
        for setting, value in restored.items():
            did(f"{setting} restored to {_shown(value)}")
        for setting, value in left.items():
            did(f"{setting} was changed by somebody else and stays {_shown(value)}")
    return done


def _shown(value: Any) -> str:
    return "its default" if value is None else json.dumps(value)


def _not_ours(cluster: Cluster, name: str) -> FirstStageError:
    return FirstStageError(
        f"The search pipeline '{name}' at {cluster.url} was not made by 'reranker pipeline'; it was not changed.", hint="Use another name: --name NAME"
    )


def _settings(cluster: Cluster, wanted: Wanted, change: bool, did: Callable[[str], None]) -> None:
    changes = needed_changes(cluster, wanted.service)
    if changes and not change:
        needed = json.dumps({"persistent": changes}, indent=1)
        raise FirstStageError(
            f"OpenSearch at {cluster.url} may not call the service yet. It needs these settings:\n{needed}",
            hint="Set them (PUT _cluster/settings), or let this command do it: leave out --no-settings.",
        )
    if changes or wanted.name not in read_note(cluster)["pipelines"]:
        apply_changes(cluster, changes, wanted.name, wanted.service)
    for name, value in changes.items():
        did(f"{name} = {json.dumps(value)}")


def _models(ml: MLCommons, wanted: Wanted, old: Mapping[str, str], did: Callable[[str], None]) -> tuple[dict[str, str], list[str]]:
    """Return the models' ids by purpose, and the ids of the newly made ones."""
    models: dict[str, str] = {}
    fresh: list[str] = []
    try:
        for purpose, connector in connectors(wanted).items():
            kept = _unchanged(ml, old.get(purpose), connector, wanted.api_key)
            if kept:
                models[purpose] = kept
                continue
            models[purpose] = ml.register(connector.name, connector.with_secret(wanted.api_key))
            fresh.append(models[purpose])
            did(f"model '{connector.name}'")
    except BaseException:
        _discard(ml, fresh)
        raise
    return models, fresh


def _unchanged(ml: MLCommons, model_id: str | None, connector: Connector, api_key: str | None) -> str | None:
    """Return the existing model's id if its connector is unchanged; deploys it if it is not deployed."""
    model = ml.model(model_id) if model_id else None
    existing = (model or {}).get("connector") or {}
    if not model_id or not model or not str(existing.get("description", "")).endswith(connector.fingerprint(api_key)):
        return None
    if model.get("model_state") != "DEPLOYED":
        ml.deploy(model_id)
    return model_id


def _discard(ml: MLCommons, model_ids: list[str]) -> None:
    with suppress(osx.OpenSearchException):
        for model_id in model_ids:
            ml.delete_model(model_id)


def _sweep(ml: MLCommons, pipeline: str, keep: set[str]) -> int:
    """Delete the pipeline's models except ``keep``; return how many were deleted."""
    count = 0
    for purpose in (REWRITE, SCORE):
        name = connector_name(pipeline, purpose)
        for model_id in ml.models_named(name):
            if model_id not in keep:
                ml.delete_model(model_id)
                count += 1
        if not keep:
            ml.delete_group(name)
    return count


def _make_default(cluster: Cluster, name: str, index: str, did: Callable[[str], None]) -> None:
    for one in indexes_behind(cluster, index):
        if _default_of(cluster, one) != name:
            cluster.client.indices.put_settings(index=one, body={_DEFAULT_PIPELINE: name})
            did(f"default pipeline of '{one}'")


def _indexes_with_default(cluster: Cluster, name: str) -> list[str]:
    found = cluster.client.indices.get_settings(name=_DEFAULT_PIPELINE, params={"flat_settings": "true", "expand_wildcards": "all"})
    return sorted(index for index, about in found.items() if about["settings"].get(_DEFAULT_PIPELINE) == name)


def _default_of(cluster: Cluster, index: str) -> str | None:
    answer = cluster.client.indices.get_settings(index=index, name=_DEFAULT_PIPELINE, params={"flat_settings": "true"})
    value: str | None = answer.get(index, {}).get("settings", {}).get(_DEFAULT_PIPELINE)
    return value


def find_pipeline(cluster: Cluster, name: str) -> dict[str, Any] | None:
    """Return the search pipeline of that name, whoever made it, or None."""
    try:
        body: dict[str, Any] | None = cluster.client.search_pipeline.get(id=name).get(name)
    except osx.NotFoundError:
        return None
    return body


def _processors(cluster: Cluster) -> dict[str, set[str]]:
    """Return the request and response processors that every node has."""
    nodes = cluster.client.nodes.info(metric="search_pipelines")["nodes"].values()
    found: dict[str, set[str]] = {}
    for kind in ("request", "response"):
        each = [{one["type"] for one in node.get("search_pipelines", {}).get(f"{kind}_processors", [])} for node in nodes]
        found[kind] = set.intersection(*each) if each else set()
    return found


def _mapped_fields(cluster: Cluster, index: str) -> set[str]:
    found: set[str] = set()

    def walk(properties: Mapping[str, Any], prefix: str) -> None:
        for name, about in properties.items():
            found.add(prefix + name)
            walk(about.get("properties") or {}, f"{prefix}{name}.")

    for about in cluster.client.indices.get_mapping(index=index).values():
        walk(about["mappings"].get("properties") or {}, "")
    return found
