"""Fixtures that several tests share: a real OpenSearch, with the demo catalogue where wanted."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import opensearch_container
from tests.opensearch_cluster import opensearch_cluster
from tests.secured_opensearch import secured_opensearch
from tests.small_run import run

__all__ = ["opensearch_cluster", "run", "secured_opensearch"]


@pytest.fixture(scope="session")
def opensearch_url() -> Iterator[str]:
    """Address of an OpenSearch without a password, in a container."""
    container = opensearch_container.node("1g", **{"discovery.type": "single-node", "DISABLE_SECURITY_PLUGIN": "true"}).with_exposed_ports(9200)
    try:
        opensearch_container.start(container)
        url = f"http://{opensearch_container.address(container)}"
        opensearch_container.await_answer(container, url)
        yield url
    finally:
        container.stop()


@pytest.fixture(scope="session")
def host_of_containers() -> str:
    """This machine's address as a container on Docker's default network sees it."""
    import docker

    network = docker.from_env().networks.get("bridge").attrs["IPAM"]["Config"][0]
    return str(network.get("Gateway") or next(ipaddress.ip_network(network["Subnet"]).hosts()))


@pytest.fixture(scope="session")
def demo_index(opensearch_url: str) -> str:
    """Alias of the whole demo catalogue in OpenSearch; tests only read it."""
    from reranker.demo_data import demo_file
    from reranker_opensearch.indexing import index_catalog

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
