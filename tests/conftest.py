"""Fixtures that several tests share, and which tests share a worker of pytest-xdist."""

from __future__ import annotations

import ipaddress
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests import opensearch_container
from tests.opensearch_cluster import opensearch_cluster
from tests.secured_opensearch import secured_opensearch
from tests.small_run import run, small_recipe

__all__ = ["opensearch_cluster", "run", "secured_opensearch", "small_recipe"]

# Fixtures that take minutes to set up. The tests that use one run in the same worker, so that it is set up once;
# the order is that of starting, longest first.
EXPENSIVE = {
    "opensearch_cluster": "opensearch",
    "opensearch_url": "opensearch",
    "run": "small run",
    "service_image": "service image",
    "secured_opensearch": "secured opensearch",
}
UNIT_TESTS = Path(__file__).parent / "unit"


@pytest.hookimpl(wrapper=True, tryfirst=True)  # a wrapper, so that the groups are there when pytest-xdist reads them
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None, None, None]:
    """Assign each test file to a group for ``--dist loadgroup``, and order the groups: expensive, slow, others.

    Coverage is measured in the unit tests alone: tracing adds a quarter to the CPU time.
    """
    fixtures: dict[Path, set[str]] = {}
    for item in items:
        names = {*getattr(item, "fixturenames", ()), *(["slow"] if item.get_closest_marker("slow") else [])}
        fixtures.setdefault(item.path, set()).update(names)
    groups = {path: next((group for name, group in EXPENSIVE.items() if name in used), str(path)) for path, used in fixtures.items()}
    order = list(dict.fromkeys(EXPENSIVE.values()))
    ranks = {path: order.index(group) if group in order else len(order) + ("slow" not in fixtures[path]) for path, group in groups.items()}
    for item in items:
        if config.pluginmanager.hasplugin("xdist"):
            item.add_marker(pytest.mark.xdist_group(groups[item.path]))
        if config.pluginmanager.hasplugin("pytest_cov") and UNIT_TESTS not in item.path.parents:
            item.add_marker(pytest.mark.no_cover)
    items.sort(key=lambda item: ranks[item.path])
    yield


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
    """This machine's address on Docker's default network, at which containers reach it."""
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
