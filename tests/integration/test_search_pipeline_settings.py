"""Cluster settings that others change too: which ones `reranker pipeline` restores and which it keeps."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from opensearchpy import OpenSearch

from tests.commands import run_command

pytestmark = pytest.mark.integration

TRUSTED = "plugins.ml_commons.trusted_connector_endpoints_regex"
ONLY_ML_NODES = "plugins.ml_commons.only_run_on_ml_node"
THEIRS = r"^https://api\.example\.com/.*$"
NOBODY = "http://10.9.8.7:9"


def persistent(client: OpenSearch) -> dict[str, Any]:
    found: dict[str, Any] = client.cluster.get_settings(params={"flat_settings": "true"})["persistent"]
    return found


def test_settings_changed_by_somebody_else_are_kept(opensearch_url: str, demo_index: str) -> None:
    arguments = ["--opensearch", opensearch_url, "--index", demo_index, "--name", "shared"]

    def run(command: str, *more: str) -> subprocess.CompletedProcess[str]:
        return run_command("pipeline", command, *arguments, *more)

    with OpenSearch(opensearch_url, timeout=60) as client:
        before = persistent(client)
        assert "search pipeline" in run("install", "--service", NOBODY).stdout
        ours = persistent(client)
        assert len(ours[TRUSTED]) == len(before.get(TRUSTED) or ours[TRUSTED][:-1]) + 1
        try:
            client.cluster.put_settings(body={"persistent": {TRUSTED: [*ours[TRUSTED], THEIRS]}})
            removed = run("remove")
            assert removed.returncode == 0, removed.stderr
            assert "changed by somebody else" in removed.stdout
            assert persistent(client)[TRUSTED] == [*ours[TRUSTED][:-1], THEIRS]
            assert {name: value for name, value in persistent(client).items() if name != TRUSTED} == {
                name: value for name, value in before.items() if name != TRUSTED
            }
        finally:
            client.cluster.put_settings(body={"persistent": {TRUSTED: before.get(TRUSTED)}})
        assert ONLY_ML_NODES not in persistent(client)
