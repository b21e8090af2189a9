"""Searching and indexing while nodes of the cluster fail."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator

import pytest

from reranker.demo_data import demo_file
from reranker.errors import FirstStageError
from reranker.products import Product
from reranker_opensearch import retry
from reranker_opensearch.connection import INDEX_TIMEOUT_S, Cluster
from reranker_opensearch.first_stage import OpenSearchFirstStage
from reranker_opensearch.indexing import index_products
from tests.commands import run_command
from tests.opensearch_cluster import NAMES, OpenSearchCluster

pytestmark = pytest.mark.integration

QUERIES = ["laptop", "gaming laptop", "hp original ink cartridge", "black usb cable", "monitor 27 inch", "samsung"]
OLD: list[Product] = [{"id": str(i), "title": f"old laptop {i}"} for i in range(30)]


@pytest.fixture(scope="module")
def products() -> list[Product]:
    with gzip.open(demo_file("products.jsonl.gz"), "rt", encoding="utf-8") as lines:
        return [json.loads(line) for _, line in zip(range(6_000), lines, strict=False)]


@pytest.fixture
def whole(opensearch_cluster: OpenSearchCluster) -> Iterator[OpenSearchCluster]:
    """The cluster with all its nodes, whatever the previous test did."""
    opensearch_cluster.heal()
    yield opensearch_cluster
    opensearch_cluster.heal()
    client = opensearch_cluster.client(NAMES[0])
    client.indices.delete(index="shop-*", params={"ignore_unavailable": "true"})
    client.close()


def found_in_order(stage: OpenSearchFirstStage, query: str) -> list[str]:
    return [hit.product_id for hit in stage.search(query, 50)]


def test_searches_succeed_while_a_node_is_killed_and_restarted(whole: OpenSearchCluster) -> None:
    done = run_command("index", "--opensearch", whole.url, "--index", "shop", "--shards", "3", "--replicas", "1")
    assert done.returncode == 0, done.stderr
    whole.await_nodes(len(NAMES), asked=NAMES[0])
    victim = next(node for node in sorted(whole.holders("shop", primaries=True)) if node != NAMES[0])
    stages = [OpenSearchFirstStage(url, "shop") for url in (whole.urls[NAMES[0]], whole.url)]

    # Exactly the same, in the same order: copies of a shard hold the same products, none deleted, so their word
    # statistics and scores agree, and products of equal score come in the catalogue's order.
    before = {query: found_in_order(stages[0], query) for query in QUERIES}
    assert all(len(found) == 50 for found in before.values())
    finished = threading.Event()
    failures: list[str] = []
    rounds = [0] * 4

    def shop(customer: int) -> None:
        while not finished.is_set():
            for query in QUERIES:
                finished.wait(0.1)  # leave some of the machine to the node that starts
                try:
                    if (found := found_in_order(stages[customer % 2], query)) != before[query]:
                        failures.append(f"{query}: {found} instead of {before[query]}")
                except Exception as error:
                    failures.append(f"{query}: {error!r}")
            rounds[customer] += 1

    def everybody_searches_once_more() -> None:
        seen = list(rounds)
        while any(now < then + 2 for now, then in zip(rounds, seen, strict=True)):
            assert all(customer.is_alive() for customer in customers)
            finished.wait(0.05)

    customers = [threading.Thread(target=shop, args=(i,)) for i in range(4)]
    for customer in customers:
        customer.start()
    try:
        everybody_searches_once_more()
        whole.kill(victim)
        everybody_searches_once_more()
        whole.await_nodes(len(NAMES) - 1, asked=NAMES[0])
        assert victim not in whole.holders("shop")
        everybody_searches_once_more()
        whole.heal()
        everybody_searches_once_more()
    finally:
        finished.set()
        for customer in customers:
            customer.join()
    assert not failures, failures[:3]


def test_indexing_loses_nothing_or_fails_and_leaves_the_old_index(whole: OpenSearchCluster, products: list[Product], monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Cluster(whole.url, timeout=INDEX_TIMEOUT_S)
    index_products(ours, "shop", OLD, shards=3, replicas=1)
    whole.await_nodes(len(NAMES), asked=NAMES[0])
    old_index = set(ours.client.indices.get(index="shop"))
    stage = OpenSearchFirstStage(whole.url, "shop")
    ended: list[str] = []

    def without_a_node_half_way(end: Callable[[str], None], then: Callable[[str], None]) -> Iterator[Product]:
        for position, product in enumerate(products):
            if position == len(products) // 2:
                (new,) = set(ours.client.indices.get(index="shop-*")) - old_index
                node = next(name for name in sorted(whole.holders(new, primaries=True)) if name not in ended)
                end(node)
                ended.append(node)
                then(node)
            yield product

    # the node stays away
    with monkeypatch.context() as context:
        context.setattr(retry, "MAX_WAIT_S", 3.0)
        with pytest.raises(FirstStageError, match=r"did not take [\d,]+ product") as raised:
            index_products(ours, "shop", without_a_node_half_way(whole.kill, lambda node: None), shards=3, replicas=1)
    assert "Are all its nodes up?" in str(raised.value)
    assert set(ours.client.indices.get(index="shop-*")) == old_index
    assert len(stage.search("old", 50)) == len(OLD)

    # the repeat, while another is stopped and started again
    whole.heal()
    old_served: list[int] = []

    def bring_back(node: str) -> None:
        whole.await_nodes(len(NAMES) - 1, asked=next(name for name in NAMES if name != node))
        old_served.append(len(stage.search("old", 50)))
        whole.start(node)

    def later(node: str) -> None:
        threading.Thread(target=bring_back, args=(node,)).start()

    assert index_products(ours, "shop", without_a_node_half_way(whole.stop, later), shards=3, replicas=1) == len(products)
    assert old_served == [len(OLD)]
    assert len(ended) == 2
    assert stage.count() == len(products)
    assert stage.get([str(product["id"]) for product in products]) == {str(product["id"]): product for product in products}
    assert len(ours.client.indices.get(index="shop-*")) == 1
