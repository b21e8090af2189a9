"""Fixture: an OpenSearch cluster of three nodes that tests may stop and start."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from opensearchpy import OpenSearch
from opensearchpy.exceptions import TransportError

from tests import opensearch_container

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

HTTP_PORTS = {"node1": 9201, "node2": 9202, "node3": 9203}
NAMES = tuple(HTTP_PORTS)
SETTLE_S = 240


class OpenSearchCluster:
    """The nodes by name. A node that is stopped and started again keeps its data and its address."""

    def __init__(self, containers: dict[str, DockerContainer], urls: dict[str, str]) -> None:
        self._containers = containers
        self.urls = urls
        self.url = ",".join(urls.values())  # as the option --opensearch takes several nodes

    def client(self, node: str) -> OpenSearch:
        """Return a plain client of one node."""
        return OpenSearch(self.urls[node], timeout=60, max_retries=0)

    def kill(self, node: str) -> None:
        """Kill a node, as a power failure does."""
        self._containers[node].get_wrapped_container().kill()

    def stop(self, node: str) -> None:
        """Shut a node down."""
        self._containers[node].get_wrapped_container().stop(timeout=60)

    def start(self, node: str) -> None:
        """Start a stopped node. It joins the cluster some seconds later."""
        self._containers[node].get_wrapped_container().start()

    def await_nodes(self, count: int, *, asked: str) -> None:
        """Wait until a node sees a cluster of ``count`` nodes, and all shard copies if that is every node."""
        color = "green" if count == len(NAMES) else "red"
        self._await(asked, {"wait_for_nodes": str(count), "wait_for_status": color, "wait_for_no_relocating_shards": "true"})

    def heal(self) -> None:
        """Start the stopped nodes and wait until the cluster is green."""
        for node, container in self._containers.items():
            wrapped = container.get_wrapped_container()
            wrapped.reload()
            if wrapped.status != "running":
                self.start(node)
        for node in NAMES:
            self.await_nodes(len(NAMES), asked=node)

    def holders(self, index: str, *, primaries: bool = False) -> set[str]:
        """Return the names of the nodes that hold shards of an index or alias."""
        client = OpenSearch(list(self.urls.values()), timeout=60)
        shards = client.cat.shards(index=index, params={"format": "json"})
        client.close()
        return {shard["node"] for shard in shards if shard["state"] == "STARTED" and (shard["prirep"] == "p" or not primaries)}

    def _await(self, node: str, state: dict[str, str]) -> None:
        client = self.client(node)
        until = time.monotonic() + SETTLE_S
        while True:
            try:
                client.cluster.health(params={**state, "timeout": "10s", "request_timeout": 30})
                client.close()
                return
            except TransportError as error:
                if time.monotonic() > until:
                    output, errors = self._containers[node].get_logs()
                    pytest.fail(f"{node} did not see {state} in {SETTLE_S} s ({error}):\n{(output + errors).decode(errors='replace')[-4_000:]}")
                time.sleep(0.5)


@pytest.fixture(scope="session")
def opensearch_cluster() -> Iterator[OpenSearchCluster]:
    """A cluster of three nodes without a password. A test that stops nodes calls ``heal()`` at its end.

    The nodes share the network of a fourth container, which does nothing. They find each other on the loopback
    interface, where OpenSearch does not check kernel settings that a test machine may lack, and their published
    ports stay the same after a restart.
    """
    with ExitStack() as undo:
        network = opensearch_container.node("512m").with_exposed_ports(*HTTP_PORTS.values()).with_kwargs(entrypoint=["sleep", "infinity"])
        undo.callback(network.stop)
        opensearch_container.start(network)
        containers = {}
        for name, port in HTTP_PORTS.items():
            settings = {
                "cluster.name": "three",
                "node.name": name,
                "network.host": "127.0.0.1",
                "http.host": "0.0.0.0",
                "http.port": str(port),
                "transport.port": str(port + 100),
                "discovery.seed_hosts": ",".join(f"127.0.0.1:{port + 100}" for port in HTTP_PORTS.values()),
                "cluster.initial_cluster_manager_nodes": ",".join(HTTP_PORTS),
                "DISABLE_SECURITY_PLUGIN": "true",
            }
            node = opensearch_container.node("512m", **settings).with_kwargs(network_mode=f"container:{network.get_wrapped_container().id}")
            undo.callback(node.stop)
            opensearch_container.start(node)
            containers[name] = node
        cluster = OpenSearchCluster(containers, {name: f"http://{opensearch_container.address(network, port)}" for name, port in HTTP_PORTS.items()})
        for name in NAMES:
            cluster.await_nodes(len(NAMES), asked=name)
        yield cluster
