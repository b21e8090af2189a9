"""The cluster's settings that a pipeline needs, changed at the first installation and put back after the last removal."""

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
"""A user-defined setting of the cluster, in which installations note what they changed."""


def effective_settings(cluster: Cluster) -> dict[str, Any]:
    """Return the settings in force, flat: transient before persistent before default."""
    told = cluster.client.cluster.get_settings(params={"include_defaults": "true", "flat_settings": "true"})
    return {**told.get("defaults", {}), **told.get("persistent", {}), **told.get("transient", {})}


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
    """Change the settings, and note what stood there before, what was set, and which pipeline needs them."""
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
    """Forget a pipeline; after the last one, put the settings back, as far as nobody else has changed them since.

    Returns:
        What was put back, and what was left as somebody else has it, but for our own part; None is the default.
    """
    note = read_note(cluster)
    if not note["pipelines"] and not note["before"]:
        return {}, {}
    note["pipelines"].pop(pipeline, None)
    if note["pipelines"]:
        _write(cluster, {NOTE: json.dumps(note, sort_keys=True)})
        return {}, {}
    back, left = _settings_without_us(note, persistent_settings(cluster))
    _write(cluster, {**back, **left, NOTE: None})
    return back, left


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
    """Return ``pipelines`` (name → service), ``before`` (setting → its persistent value, or None), ``set`` (setting → what we made it),
    ``patterns`` (a trusted one that we added → the pipeline it was for) and ``in_force`` (of trusted patterns: the list before the first of ours).
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
    except re.error:  # Java's patterns are not all Python's
        return False


def _is_private(host: str) -> bool:
    """Whether the cluster is likely to see a private address behind this name; a name that is unknown here is taken for one."""
    try:
        found = {ipaddress.ip_address(host)}
    except ValueError:
        try:
            found = {ipaddress.ip_address(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
        except OSError:
            return True
    return any(not address.is_global for address in found)
