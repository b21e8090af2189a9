"""Starts OpenSearch nodes in containers."""

from __future__ import annotations

import json
import os
import socket
import ssl
import time
import urllib.request
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

OFFICIAL_IMAGE = "opensearchproject/opensearch:2.19.1"
START_S = 240


def no_opensearch(why: str) -> NoReturn:
    """Skip the test; with CI set, fail."""
    if os.environ.get("CI"):
        pytest.fail(f"no OpenSearch: {why}")
    pytest.skip(f"no OpenSearch: {why}; `bash tests/run` sets one up")


def node(heap: str, **environment: str) -> DockerContainer:
    """Return an unstarted container of the image OPENSEARCH_IMAGE, by default the official one."""
    from testcontainers.core.container import DockerContainer

    import docker

    try:
        docker.from_env().ping()
    except docker.errors.DockerException as error:
        no_opensearch(f"no Docker daemon answers ({error})")
    container = DockerContainer(os.environ.get("OPENSEARCH_IMAGE") or OFFICIAL_IMAGE)
    settings = {
        "cluster.routing.allocation.disk.threshold_enabled": "false",
        "DISABLE_INSTALL_DEMO_CONFIG": "true",
        "OPENSEARCH_JAVA_OPTS": f"-Xms{heap} -Xmx{heap}",
        **environment,
    }
    for name, value in settings.items():
        container = container.with_env(name, value)
    return container


def start(container: DockerContainer) -> None:
    """Start a node without waiting for it to answer."""
    import docker

    try:
        container.start()
    except docker.errors.DockerException as error:
        no_opensearch(f"the image {container.image} cannot be started ({error})")


def address(container: DockerContainer, inside: int = 9200) -> str:
    """Return the host and port that are mapped to a port of the container."""
    port = int(container.get_exposed_port(inside))
    return f"{'127.0.0.1' if _listens(port) else container.get_container_host_ip()}:{port}"


def await_answer(container: DockerContainer, url: str, *, tls: ssl.SSLContext | None = None, headers: dict[str, str] | None = None) -> None:
    """Wait until the node's cluster is yellow or green."""
    question = urllib.request.Request(f"{url}/_cluster/health?wait_for_status=yellow&timeout=5s", headers=headers or {})
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(question, timeout=10, context=tls) as answer:
                if json.load(answer)["status"] in ("yellow", "green"):
                    return
        except (OSError, ValueError):
            pass
        time.sleep(0.5)
    output, errors = container.get_logs()
    pytest.fail(f"OpenSearch did not come up in {START_S} s:\n{(output + errors).decode(errors='replace')[-4_000:]}")


def _listens(port: int) -> bool:
    """Return whether the port is open on this machine, as it is with a local Docker daemon."""
    with socket.socket() as s:
        s.settimeout(5)
        return s.connect_ex(("127.0.0.1", port)) == 0
