"""Fixtures that several tests share: a real OpenSearch, with the demo catalogue where wanted."""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

OFFICIAL_IMAGE = "opensearchproject/opensearch:2.19.1"
START_S = 240


def _no_opensearch(why: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"no OpenSearch: {why}")
    pytest.skip(f"no OpenSearch: {why}; `bash tests/run` sets one up")


@pytest.fixture(scope="session")
def opensearch_url() -> Iterator[str]:
    """Address of an OpenSearch in a container of the image OPENSEARCH_IMAGE (the official one where none is named)."""
    from testcontainers.core.container import DockerContainer

    import docker

    try:
        docker.from_env().ping()
    except docker.errors.DockerException as error:
        _no_opensearch(f"no Docker daemon answers ({error})")
    image = os.environ.get("OPENSEARCH_IMAGE") or OFFICIAL_IMAGE
    container = DockerContainer(image).with_exposed_ports(9200)
    for name, value in {
        "discovery.type": "single-node",
        "cluster.routing.allocation.disk.threshold_enabled": "false",
        "DISABLE_INSTALL_DEMO_CONFIG": "true",
        "DISABLE_SECURITY_PLUGIN": "true",
        "OPENSEARCH_JAVA_OPTS": "-Xms1g -Xmx1g",
    }.items():
        container = container.with_env(name, value)
    try:
        container.start()
    except docker.errors.DockerException as error:
        _no_opensearch(f"the image {image} cannot be started ({error})")
    try:
        port = int(container.get_exposed_port(9200))
        url = f"http://{'127.0.0.1' if _listens(port) else container.get_container_host_ip()}:{port}"
        if not _answers(url):
            output, errors = container.get_logs()
            pytest.fail(f"OpenSearch did not come up in {START_S} s:\n{(output + errors).decode(errors='replace')[-4_000:]}")
        yield url
    finally:
        container.stop()


def _listens(port: int) -> bool:
    """Say whether the container's port is one of this machine's, as with a daemon that is not remote."""
    with socket.socket() as s:
        s.settimeout(5)
        return s.connect_ex(("127.0.0.1", port)) == 0


def _answers(url: str) -> bool:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"{url}/_cluster/health?wait_for_status=yellow&timeout=5s", timeout=10) as answer:
                if json.load(answer)["status"] in ("yellow", "green"):
                    return True
        except (OSError, ValueError):
            pass
        time.sleep(0.5)
    return False


@pytest.fixture(scope="session")
def host_of_containers() -> str:
    """This machine's address as a container on Docker's default network sees it."""
    import docker

    network = docker.from_env().networks.get("bridge").attrs["IPAM"]["Config"][0]
    return str(network.get("Gateway") or next(ipaddress.ip_network(network["Subnet"]).hosts()))


@pytest.fixture(scope="session")
def demo_index(opensearch_url: str) -> str:
    """Alias of the whole demo catalogue in OpenSearch; tests only read it."""
    from opensearch.indexing import index_catalog
    from reranker.demo_data import demo_file

    index_catalog(opensearch_url, "demo", demo_file("products.jsonl.gz"), quiet=True)
    return "demo"


@pytest.fixture(scope="session")
def embedded_index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the demo catalogue's embedded index; tests only read it."""
    from reranker.demo_data import demo_file
    from reranker.embedded import build_with_progress

    folder = tmp_path_factory.mktemp("embedded") / "products"
    build_with_progress(folder, demo_file("products.jsonl.gz"), quiet=True)
    return folder
