"""Indexing into OpenSearch: it makes the whole index or changes nothing, and there is always an index to search."""

from __future__ import annotations

import gzip
import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reranker.demo_data import demo_file
from reranker.errors import CatalogError, FirstStageError, InputError
from reranker.products import Product
from reranker_opensearch.connection import Cluster
from reranker_opensearch.first_stage import OpenSearchFirstStage
from reranker_opensearch.indexing import index_products
from tests.commands import run_command

pytestmark = pytest.mark.integration

OLD: list[Product] = [{"id": str(i), "title": f"old laptop {i}"} for i in range(20)]
HUGE_NUMBER = 10**1500  # valid JSON, but more digits than OpenSearch takes


@pytest.fixture
def cluster(opensearch_url: str) -> Iterator[Cluster]:
    cluster = Cluster(opensearch_url)
    yield cluster
    cluster.close()


@pytest.fixture
def name(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """An alias of the test's own; its indexes are removed afterwards."""
    name = "t" + str(abs(hash(request.node.nodeid)))
    yield name
    cluster.client.indices.delete(index=f"{name},{name}-*", params={"ignore_unavailable": "true"})


def indexes(cluster: Cluster) -> set[str]:
    return set(cluster.client.indices.get(index="*", params={"expand_wildcards": "all"}))


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_command(*arguments, environment=environment)


def write(path: Path, *products: Any) -> str:
    path.write_text("\n".join(p if isinstance(p, str) else json.dumps(p) for p in products) + "\n", encoding="utf-8")
    return str(path)


def test_searches_succeed_during_indexing(cluster: Cluster, opensearch_url: str, name: str) -> None:
    with gzip.open(demo_file("products.jsonl.gz"), "rt", encoding="utf-8") as lines:
        products = [json.loads(line) for _, line in zip(range(1_500), lines, strict=False)]
    index_products(cluster, name, products)
    stage = OpenSearchFirstStage(opensearch_url, name)
    done, began = threading.Event(), threading.Event()
    failures: list[str] = []
    searches = 0

    def search_on_and_on() -> None:
        nonlocal searches
        while not done.is_set():
            try:
                found = len(stage.search("hp original ink cartridge", 50))
                if found != 50:
                    failures.append(f"{found} hits")
            except Exception as error:
                failures.append(repr(error))
            searches += 1
            began.set()

    shopper = threading.Thread(target=search_on_and_on)
    shopper.start()
    try:
        assert began.wait(60)
        before = searches
        for _ in range(4):
            index_products(cluster, name, products)
        during = searches - before
    finally:
        done.set()
        shopper.join()
    assert not failures
    assert during > 4
    assert len(cluster.client.indices.get(index=f"{name}-*")) == 1


def test_a_broken_catalogue_leaves_the_old_index(cluster: Cluster, opensearch_url: str, name: str, tmp_path: Path) -> None:
    index_products(cluster, name, OLD)
    before = indexes(cluster)
    new = [json.dumps({"id": str(i), "title": "new laptop"}) for i in range(2_000)]
    new[1_203] = '{"id": "x", "title": '
    done = run("index", "--catalog", write(tmp_path / "new.jsonl", *new), "--opensearch", opensearch_url, "--index", name)
    assert done.returncode == 2
    assert "line 1,204" in done.stderr
    assert "Traceback" not in done.stderr
    assert indexes(cluster) == before
    stage = OpenSearchFirstStage(opensearch_url, name)
    assert stage.count() == 20
    assert stage.search("old", 1)


def test_rejected_products_are_listed_and_leave_the_old_index(cluster: Cluster, opensearch_url: str, name: str, tmp_path: Path) -> None:
    index_products(cluster, name, OLD)
    before = indexes(cluster)
    catalog = write(tmp_path / "new.jsonl", {"id": "n1", "title": "new"}, {"id": "n2", "title": "new", "price": HUGE_NUMBER})
    done = run("index", "--catalog", catalog, "--opensearch", opensearch_url, "--index", name)
    assert done.returncode == 4
    assert "rejected 1 product" in done.stderr
    assert "id n2" in done.stderr
    assert "Traceback" not in done.stderr
    assert indexes(cluster) == before
    assert OpenSearchFirstStage(opensearch_url, name).count() == 20


def test_skip_invalid_leaves_out_and_lists_products(opensearch_url: str, name: str, tmp_path: Path) -> None:
    catalog = write(
        tmp_path / "mixed.jsonl", {"id": "1", "title": "good"}, "not JSON", {"id": "3", "brand": "no title"}, {"id": "4", "title": "x", "price": HUGE_NUMBER}
    )
    done = run("index", "--catalog", catalog, "--opensearch", opensearch_url, "--index", name, "--skip-invalid", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["products"] == 1
    assert [(one["line"], one["id"]) for one in told["left_out"]] == [(2, None), (3, "3"), (None, "4")]
    assert all(one["why"] for one in told["left_out"])
    plain = run("index", "--catalog", catalog, "--opensearch", opensearch_url, "--index", name, "--skip-invalid")
    assert plain.returncode == 0, plain.stderr
    assert "1 products indexed" in plain.stdout
    assert "3 left out" in plain.stdout
    assert "id 4" in plain.stdout


def test_indexing_again_replaces_and_removes_the_old_index(cluster: Cluster, opensearch_url: str, name: str) -> None:
    index_products(cluster, name, OLD)
    index_products(cluster, name, [{"id": "only", "title": "new laptop"}], shards=2, replicas=0)
    there = cluster.client.indices.get(index=f"{name}-*")
    assert len(there) == 1
    (about,) = there.values()
    assert about["settings"]["index"]["number_of_shards"] == "2"
    assert list(about["aliases"]) == [name]
    assert [hit.product_id for hit in OpenSearchFirstStage(opensearch_url, name).search("laptop", 10)] == ["only"]


@pytest.mark.parametrize("as_alias", [False, True])
def test_an_index_that_is_not_ours_is_untouched(cluster: Cluster, opensearch_url: str, name: str, as_alias: bool, tmp_path: Path) -> None:
    theirs = f"{name}-theirs" if as_alias else name
    cluster.client.index(index=theirs, id="1", body={"precious": True}, params={"refresh": "true"})
    if as_alias:
        cluster.client.indices.put_alias(index=theirs, name=name)
    before = cluster.client.indices.get(index=theirs)
    everything = indexes(cluster)
    done = run("index", "--catalog", write(tmp_path / "c.jsonl", *OLD), "--opensearch", opensearch_url, "--index", name)
    assert done.returncode == 4
    assert "not made by 'reranker index'" in done.stderr
    assert cluster.client.indices.get(index=theirs) == before
    assert cluster.client.get(index=theirs, id="1")["_source"] == {"precious": True}
    assert indexes(cluster) == everything


def test_a_failing_catalogue_reader_leaves_nothing_behind(cluster: Cluster, name: str) -> None:
    def products() -> Iterator[Product]:
        yield from OLD
        raise CatalogError("broken half-way")

    before = indexes(cluster)
    with pytest.raises(CatalogError, match="half-way"):
        index_products(cluster, name, products())
    assert indexes(cluster) == before


@pytest.mark.parametrize("wrong", [{"shards": 0}, {"shards": 5_000}, {"replicas": -1}])
def test_options_out_of_range(cluster: Cluster, name: str, wrong: dict[str, int]) -> None:
    before = indexes(cluster)
    with pytest.raises(InputError):
        index_products(cluster, name, OLD, **wrong)  # type: ignore[arg-type]
    assert indexes(cluster) == before


def test_a_cluster_that_blocks_writing_keeps_the_old_index(cluster: Cluster, opensearch_url: str, name: str) -> None:
    index_products(cluster, name, OLD)
    before = indexes(cluster)
    cluster.client.cluster.put_settings(body={"transient": {"cluster.blocks.create_index": True}})
    try:
        with pytest.raises(FirstStageError):
            index_products(cluster, name, OLD)
    finally:
        cluster.client.cluster.put_settings(body={"transient": {"cluster.blocks.create_index": None}})
    assert indexes(cluster) == before
    assert OpenSearchFirstStage(opensearch_url, name).count() == 20
