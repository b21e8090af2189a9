"""The cluster settings that a pipeline needs: changed by the first installation, restored by the last removal."""

from __future__ import annotations

import ipaddress
import json
import re
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from reranker_opensearch.connection import Cluster

ONLY_ML_NODES = "plugins.ml_commons.only_run_on_ml_node"
PRIVATE_IP = "plugins.ml_commons.connector.private_ip_enabled"
TRUSTED = "plugins.ml_commons.trusted_connector_endpoints_regex"
NOTE = "cluster.metadata.distilled-reranker"
"""A user-defined cluster setting in which installations record what they changed."""


def effective_settings(cluster: Cluster) -> dict[str, Any]:
    """Return the settings in force, flat: transient before persistent before default."""
    answer = cluster.client.cluster.get_settings(params={"include_defaults": "true", "flat_settings": "true"})
    return {**answer.get("defaults", {}), **answer.get("persistent", {}), **answer.get("transient", {})}


def persistent_settings(cluster: Cluster) -> dict[str, Any]:
    return dict(cluster.client.cluster.get_settings(params={"flat_settings": "true"}).get("persistent", {}))


def needed_changes(cluster: Cluster, service: str) -> dict[str, Any]:
    """Return the settings that must change for the cluster to reach ``service``, with their new values."""
    now = effective_settings(cluster)
    changes: dict[str, Any] = {}
    nodes = cluster.client.nodes.info(metric="http")["nodes"].values()
    if _is_true(now.get(ONLY_ML_NODES, True)) and not any("ml" in node.get("roles", []) for node in nodes):
        changes[ONLY_ML_NODES] = False
    if not _is_true(now.get(PRIVATE_IP, False)) and _is_private(urlsplit(service).hostname or ""):
        changes[PRIVATE_IP] = True
    trusted = list(now.get(TRUSTED) or [])
    if not any(_matches(pattern, f"{service}/x") for pattern in trusted):
        changes[TRUSTED] = [*trusted, f"^{re.escape(service)}/.*$"]
    return changes


def apply_changes(cluster: Cluster, changes: Mapping[str, Any], pipeline: str, service: str) -> None:
    """Change the settings, and record their old and new values and the pipeline that needs them."""
    persistent = persistent_settings(cluster)
    note = _note(persistent)
    for name, value in changes.items():
        note["before"].setdefault(name, persistent.get(name))
        note["set"][name] = value
    note["pipelines"][pipeline] = service
    if TRUSTED in changes:
        note["patterns"][changes[TRUSTED][-1]] = pipeline
        note["in_force"].setdefault(TRUSTED, changes[TRUSTED][:-1])
    _write(cluster, {**changes, NOTE: json.dumps(note, sort_keys=True)})


def undo(cluster: Cluster, pipeline: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Remove a pipeline from the record. After the last one, restore the settings that nobody else has changed since.

    Returns:
        The restored settings, and those that keep somebody else's value (without our part of it); None stands for the default.
    """
    note = read_note(cluster)
    if not note["pipelines"] and not note["before"]:
        return {}, {}
    note["pipelines"].pop(pipeline, None)
    if note["pipelines"]:
        _write(cluster, {NOTE: json.dumps(note, sort_keys=True)})
        return {}, {}
    restored, left = _settings_without_us(note, persistent_settings(cluster))
    _write(cluster, {**restored, **left, NOTE: None})
    return restored, left


def _settings_without_us(note: Mapping[str, Mapping[str, Any]], now: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    back: dict[str, Any] = {}
    left: dict[str, Any] = {}
    for name, before in note["before"].items():
        if name == TRUSTED and note["patterns"]:
            others = [pattern for pattern in now.get(TRUSTED) or [] if pattern not in note["patterns"]]
            if others == note["in_force"].get(TRUSTED):
                back[name] = before
            else:
                left[name] = others
        elif name in note["set"] and str(now.get(name)).lower() != str(note["set"][name]).lower():
            left[name] = now.get(name)
        else:
            back[name] = before
    return back, left


def read_note(cluster: Cluster) -> dict[str, dict[str, Any]]:
    """Return the record of installations.

    ``pipelines``: name → service. ``before``: setting → its persistent value, or None. ``set``: setting → the value we set.
    ``patterns``: trusted URL pattern that we added → its pipeline. ``in_force``: the list of trusted patterns before our first.
    """
    return _note(persistent_settings(cluster))


def _note(persistent: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    try:
        note = json.loads(persistent.get(NOTE) or "{}")
    except ValueError:
        note = {}
    return {part: dict(note.get(part) or {}) for part in ("pipelines", "before", "set", "patterns", "in_force")}


def _write(cluster: Cluster, settings: Mapping[str, Any]) -> None:
    cluster.client.cluster.put_settings(body={"persistent": dict(settings)})


def _is_true(value: Any) -> bool:
    return str(value).lower() == "true"


def _matches(pattern: str, url: str) -> bool:
    try:
        return re.fullmatch(pattern, url) is not None
    except re.error:  # not every Java pattern is valid in Python
        return False


def _is_private(host: str) -> bool:
    """Whether a host probably has a private address for the cluster; a name that is unknown here counts as private."""
    try:
        found = {ipaddress.ip_address(host)}
    except ValueError:
        try:
            found = {ipaddress.ip_address(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
        except OSError:
            return True
    return any(not address.is_global for address in found)
