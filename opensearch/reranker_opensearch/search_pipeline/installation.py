"""Installing a pipeline, upgrading it in place, and taking it away again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

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

_OLDEST = (2, 16)  # ML Commons rewrites requests since then
_DEFAULT_PIPELINE = "index.search.default_pipeline"
_TEMPLATE_FIELDS = ("title", "brand", "description", "attributes")


class Ability(NamedTuple):
    """What a cluster can do: its version, and whether it can fetch more hits than the page and cut them again."""

    version: str
    enlarge: bool


class Installed(NamedTuple):
    """What an installation did: the steps that changed something, in words (none: all was there already), and the pipeline's name."""

    name: str
    changed: list[str]


def check_cluster(cluster: Cluster) -> Ability:
    """Return what the cluster can do.

    Raises:
        FirstStageError: its version or plugins do not allow a rerank pipeline.
    """
    version = str(cluster.client.info()["version"]["number"])
    numbers = tuple(int(part) for part in version.split("-")[0].split(".")[:2])
    if numbers < _OLDEST:
        raise FirstStageError(
            f"OpenSearch at {cluster.url} is version {version}: its ML Commons cannot rewrite requests.",
            hint="Upgrade to 2.16 or later (2.19 is what we test), or rerank on the client's side: reranker search --opensearch URL",
        )
    processors = _processors(cluster)
    missing = [f"{kind} processor {name}" for kind, name in (("request", "ml_inference"), ("response", "rerank")) if name not in processors[kind]]
    if missing:
        raise FirstStageError(
            f"OpenSearch at {cluster.url} lacks the search pipeline's {' and '.join(missing)}.",
            hint="Install the plugins opensearch-ml and opensearch-neural-search on every node; the full distribution has them.",
        )
    return Ability(version, "oversample" in processors["request"] and "truncate_hits" in processors["response"])


def fields_of(cluster: Cluster, index: str, given: Mapping[str, str] | None) -> dict[str, str]:
    """Return where the student's fields stand in the index's documents.

    Raises:
        InputError: none of them is known to the index.
        FirstStageError: there is no such index.
    """
    there = indexes_behind(cluster, index)
    if not there:
        raise FirstStageError(
            f"There is no index '{index}' at {cluster.url}.", hint=f"Index a catalogue first: reranker index --opensearch {cluster.url} --index {index}"
        )
    if all(meta.get("owner") == OWNER for meta in there.values()) and not given:
        return {field: f"product.{field}" for field in _TEMPLATE_FIELDS}  # whole products lie there, as the client side reads them
    mapped = _mapped_fields(cluster, index)
    wanted = dict(given) if given else {field: field for field in _TEMPLATE_FIELDS if field in mapped}
    unknown = [path for path in wanted.values() if path not in mapped and path.split(".")[0] not in mapped]
    if unknown or not wanted:
        what = f"has no field {', '.join(unknown)}" if unknown else f"has none of the fields {', '.join(_TEMPLATE_FIELDS)}"
        shown = ", ".join(sorted(mapped)[:30]) or "none"
        raise InputError(
            f"The index '{index}' {what}. It has: {shown}.", hint="Say where the student's fields stand: --fields title=name,brand=vendor.name,description=text"
        )
    return wanted


def plan(cluster: Cluster, wanted: Wanted) -> dict[str, Any]:
    """Return what ``install`` would put into the cluster, secrets left out."""
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
    model_group: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Installed:
    """Put the pipeline into the cluster, or bring the one that is there to what is wanted; searches go on meanwhile.

    New models, each with its connector, are made beside the old ones, the pipeline is switched to them in one step, then the old
    ones go. A failure before the switch leaves the cluster as it was.

    Args:
        index: what the pipeline is for.
        default: make it the index's default, so that searches need no parameter.
        change_settings: set the cluster's settings where they do not allow it.
        model_group: the ML Commons model group to put the models into; None lets each have its own.
        say: told each step.

    Raises:
        FirstStageError: the cluster refuses, or a pipeline of that name is somebody else's.
    """
    with cluster.errors():
        there = find_pipeline(cluster, wanted.name)
        if there is not None and not is_ours(there):
            raise FirstStageError(f"The search pipeline '{wanted.name}' at {cluster.url} was not made by us; it was left as it is.", hint="Use another --name.")
        changed: list[str] = []
        _settings(cluster, wanted, change_settings, changed, say)
        ml = MLCommons(cluster)
        old = models_of(there or {})
        models, fresh = _models(ml, wanted, old, model_group, changed, say)
        body = pipeline_body(wanted, models)
        if there != body:
            try:
                cluster.client.search_pipeline.put(id=wanted.name, body=body)
            except BaseException:
                _discard(ml, fresh)
                raise
            changed.append(f"search pipeline '{wanted.name}'")
            say(changed[-1])
        _sweep(ml, wanted.name, set(models.values()))
        if default:
            _make_default(cluster, wanted.name, index, changed, say)
    return Installed(wanted.name, changed)


def remove(cluster: Cluster, name: str, *, say: Callable[[str], None] = lambda _: None) -> list[str]:
    """Take a pipeline away with all that was made for it, and put settings back that nothing else of ours needs; return what was done.

    Raises:
        FirstStageError: the cluster refuses, or the pipeline is somebody else's.
    """
    done: list[str] = []

    def did(what: str) -> None:
        done.append(what)
        say(what)

    with cluster.errors():
        there = find_pipeline(cluster, name)
        if there is not None and not is_ours(there):
            raise FirstStageError(f"The search pipeline '{name}' at {cluster.url} was not made by us; it was left as it is.", hint="Give the name of ours.")
        for index in _indexes_with_default(cluster, name):
            cluster.client.indices.put_settings(index=index, body={_DEFAULT_PIPELINE: None})
            did(f"'{index}' has no default pipeline any more")
        if there is not None:
            cluster.client.search_pipeline.delete(id=name)
            did(f"search pipeline '{name}' removed")
        ml = MLCommons(cluster)
        ml.delete_key_makers()
        removed = _sweep(ml, name, set())
        if removed:
            did(f"{removed} models removed")
        back, left = undo(cluster, name)
        for setting, value in back.items():
            did(f"{setting} is {_shown(value)} again")
        for setting, value in left.items():
            did(f"{setting} was changed by somebody else meanwhile, and stays {_shown(value)}")
    return done


def _shown(value: Any) -> str:
    return "at its default" if value is None else json.dumps(value)


def _settings(cluster: Cluster, wanted: Wanted, change: bool, changed: list[str], say: Callable[[str], None]) -> None:
    changes = needed_changes(cluster, wanted.service)
    if changes and not change:
        told = json.dumps({"persistent": changes}, indent=1)
        raise FirstStageError(
            f"OpenSearch at {cluster.url} may not call the service yet. It needs these settings:\n{told}",
            hint="Set them (PUT _cluster/settings), or let this command do it: leave --no-settings out.",
        )
    if changes or wanted.name not in read_note(cluster)["pipelines"]:
        apply_changes(cluster, changes, wanted.name, wanted.service)
    for name, value in changes.items():
        changed.append(f"{name} = {json.dumps(value)}")
        say(changed[-1])


def _models(
    ml: MLCommons, wanted: Wanted, old: Mapping[str, str], model_group: str | None, changed: list[str], say: Callable[[str], None]
) -> tuple[dict[str, str], list[str]]:
    """Return the models' ids by purpose, and the ids of those made just now."""
    models: dict[str, str] = {}
    fresh: list[str] = []
    try:
        for purpose, connector in connectors(wanted).items():
            kept = _kept(ml, old.get(purpose), connector, wanted.api_key)
            if kept:
                models[purpose] = kept
                continue
            models[purpose] = ml.register(connector.name, connector.with_secret(wanted.api_key), ml.group(model_group) if model_group else None)
            fresh.append(models[purpose])
            changed.append(f"model '{connector.name}'")
            say(changed[-1])
    except BaseException:
        _discard(ml, fresh)
        raise
    return models, fresh


def _kept(ml: MLCommons, model_id: str | None, connector: Connector, api_key: str | None) -> str | None:
    """Return the model in the cluster if it is what is wanted, deployed again where it was not."""
    model = ml.model(model_id) if model_id else None
    there = (model or {}).get("connector") or {}
    if not model_id or not model or not str(there.get("description", "")).endswith(connector.fingerprint(api_key)):
        return None
    if model.get("model_state") != "DEPLOYED":
        ml.deploy(model_id)
    return model_id


def _discard(ml: MLCommons, made: list[str]) -> None:
    with suppress(osx.OpenSearchException):
        for model_id in made:
            ml.delete_model(model_id)


def _sweep(ml: MLCommons, pipeline: str, keep: set[str]) -> int:
    """Delete the pipeline's models but those in use; return how many went."""
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


def _make_default(cluster: Cluster, name: str, index: str, changed: list[str], say: Callable[[str], None]) -> None:
    for one in indexes_behind(cluster, index):
        if _default_of(cluster, one) != name:
            cluster.client.indices.put_settings(index=one, body={_DEFAULT_PIPELINE: name})
            changed.append(f"default pipeline of '{one}'")
            say(changed[-1])


def _indexes_with_default(cluster: Cluster, name: str) -> list[str]:
    found = cluster.client.indices.get_settings(name=_DEFAULT_PIPELINE, params={"flat_settings": "true", "expand_wildcards": "all"})
    return sorted(index for index, told in found.items() if told["settings"].get(_DEFAULT_PIPELINE) == name)


def _default_of(cluster: Cluster, index: str) -> str | None:
    told = cluster.client.indices.get_settings(index=index, name=_DEFAULT_PIPELINE, params={"flat_settings": "true"})
    value: str | None = told.get(index, {}).get("settings", {}).get(_DEFAULT_PIPELINE)
    return value


def find_pipeline(cluster: Cluster, name: str) -> dict[str, Any] | None:
    """Return the search pipeline of that name, whoever made it, or None where there is none."""
    try:
        body: dict[str, Any] | None = cluster.client.search_pipeline.get(id=name).get(name)
    except osx.NotFoundError:
        return None
    return body


def _processors(cluster: Cluster) -> dict[str, set[str]]:
    """Return the processors that every node has, for requests and responses."""
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

    for told in cluster.client.indices.get_mapping(index=index).values():
        walk(told["mappings"].get("properties") or {}, "")
    return found
