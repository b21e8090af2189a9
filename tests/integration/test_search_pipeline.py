"""`reranker pipeline` with a real OpenSearch and a real service, as search engineers and clients see it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opensearchpy import NotFoundError, OpenSearch

from reranker.reranker import Reranker
from reranker.search import TwoStageSearch
from reranker_opensearch.first_stage import OpenSearchFirstStage
from tests import opensearch_container
from tests.commands import run_command
from tests.served import Served, served

pytestmark = pytest.mark.integration

ML = "/_plugins/_ml"
KEY = "a-key-of-the-shop-0123456789"
QUERIES = ["laptop", "usb cable 3m", "hp toner", "wireless mouse", '15.6" notebook', "monitor 4k", "ssd 1tb", "laptop bag", "digital camera", "ps4"]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_command("pipeline", *arguments, environment=environment)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("service"), "--host", "0.0.0.0") as running:
        yield running


@pytest.fixture(scope="module")
def address(service: Served, host_of_containers: str) -> str:
    """The service's address as a container reaches it."""
    return f"http://{host_of_containers}:{service.url.rsplit(':', 1)[1]}"


@pytest.fixture(scope="module")
def client(opensearch_url: str) -> Iterator[OpenSearch]:
    with OpenSearch(opensearch_url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def pipeline(opensearch_url: str, demo_index: str, address: str) -> Iterator[str]:
    """A pipeline over the demo catalogue, removed at the end."""
    done = run("install", "--opensearch", opensearch_url, "--service", address, "--index", demo_index, "--budget-ms", "20000", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    yield json.loads(done.stdout)["pipeline"]
    assert run("remove", "--opensearch", opensearch_url, "--index", demo_index).returncode == 0


def bm25(query: str, **more: Any) -> dict[str, Any]:
    """The client side's BM25 query."""
    boosts = {"title": 3.0, "brand": 2.0, "description": 1.0, "attributes": 0.5}
    should = [{"match": {field: {"query": query, "boost": boost}}} for field, boost in boosts.items()]
    return {"query": {"bool": {"should": should, "minimum_should_match": 1}}, "sort": [{"_score": "desc"}, {"position": "asc"}], **more}


def ids(answer: dict[str, Any]) -> list[str]:
    return [hit["_id"] for hit in answer["hits"]["hits"]]


def search(client: OpenSearch, index: str, body: dict[str, Any], pipeline: str = "_none") -> dict[str, Any]:
    answer: dict[str, Any] = client.search(index=index, body=body, params={"search_pipeline": pipeline})
    return answer


@pytest.fixture(scope="module")
def client_side(opensearch_url: str, demo_index: str) -> Iterator[TwoStageSearch]:
    search = TwoStageSearch(OpenSearchFirstStage(opensearch_url, demo_index), Reranker.load(), k=50)
    yield search
    search.close()


@pytest.mark.parametrize(("start", "size"), [(0, 10), (10, 10), (45, 10), (60, 5), (0, 50), (0, 60)])
def test_the_order_is_that_of_the_client_side(client: OpenSearch, client_side: TwoStageSearch, demo_index: str, pipeline: str, start: int, size: int) -> None:
    for query in QUERIES[:9]:  # each finds more hits than a page needs
        wanted = [result.product_id for result in client_side.search(query, size=size, start=start).results]
        assert len(wanted) == size
        assert ids(search(client, demo_index, bm25(query, size=size, **{"from": start}), pipeline)) == wanted, query


def test_one_parameter_reranks_a_clients_own_query(client: OpenSearch, demo_index: str, pipeline: str) -> None:
    body = {
        "query": {"multi_match": {"query": "laptop", "fields": ["title", "description"]}},
        "size": 10,
        "aggs": {"all": {"value_count": {"field": "id"}}},
        "highlight": {"fields": {"title": {}}},
    }
    plain, reranked = search(client, demo_index, body), search(client, demo_index, body, pipeline)
    assert ids(reranked) != ids(plain)
    assert len(ids(reranked)) == 10
    assert reranked["hits"]["total"] == plain["hits"]["total"]
    assert reranked["aggregations"] == plain["aggregations"]
    assert any("highlight" in hit for hit in reranked["hits"]["hits"])
    scores = [hit["_score"] for hit in reranked["hits"]["hits"]]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert not any("_reranker_score" in hit["_source"] for hit in reranked["hits"]["hits"])


def test_the_query_in_ext_takes_precedence(client: OpenSearch, demo_index: str, pipeline: str) -> None:
    body = {"query": {"match": {"title": "notebook case"}}, "size": 5}
    told = {**body, "ext": {"rerank": {"query_context": {"query_text": "notebook"}}}}
    assert ids(search(client, demo_index, told, pipeline)) != ids(search(client, demo_index, body, pipeline))


@pytest.mark.parametrize("source", [["id"], False, {"excludes": ["product"]}, "position"])
def test_source_filters_do_not_change_the_order(client: OpenSearch, demo_index: str, pipeline: str, source: Any) -> None:
    whole = search(client, demo_index, bm25("wireless mouse", size=10), pipeline)
    assert ids(search(client, demo_index, bm25("wireless mouse", size=10, _source=source), pipeline)) == ids(whole)


@pytest.mark.parametrize(
    "more",
    [{"sort": [{"position": "desc"}]}, {"size": 0}, {"from": 70, "size": 5}, {"query": {"match_all": {}}, "sort": [{"_score": "desc"}, {"position": "asc"}]}],
)
def test_a_search_that_cannot_be_reranked_is_as_without_the_pipeline(client: OpenSearch, demo_index: str, pipeline: str, more: dict[str, Any]) -> None:
    body = bm25("laptop") | more
    assert search(client, demo_index, body, pipeline)["hits"] == search(client, demo_index, body)["hits"]


def test_hits_are_reranked_without_counting_too(client: OpenSearch, demo_index: str, pipeline: str) -> None:
    counted = search(client, demo_index, bm25("laptop"), pipeline)
    assert ids(search(client, demo_index, bm25("laptop", track_total_hits=False), pipeline)) == ids(counted)


@pytest.mark.parametrize("query", ["${parameters.request}", '"', "\\", "{}", "日本語", "👟", "a\u0000b", "laptop ${parameters.documents}", "1", "null", "true"])
def test_no_query_breaks_the_search(client: OpenSearch, demo_index: str, pipeline: str, query: str) -> None:
    answer = search(client, demo_index, {"query": {"match": {"title": query}}, "size": 5}, pipeline)
    assert sorted(ids(answer)) == sorted(ids(answer))
    assert answer["hits"]["total"] == search(client, demo_index, {"query": {"match": {"title": query}}, "size": 5})["hits"]["total"]


ODD: list[dict[str, Any]] = [
    {
        "name": "Trail shoe \"Fell\" \\ 'x'",
        "vendor": {"label": "Fellrunner"},
        "text": ["light\nand\tquick", "stiff sole 👟"],
        "variants": [{"colour": "red"}, {"colour": None}],
    },
    {"name": "Shoe polish, black", "vendor": None, "text": "x " * 5_000},
    {"name": ["Shoe", "rack"], "text": ""},
    {"name": "Shoe lace ${parameters.x} $1"},
    {"name": "Horse shoe", "vendor": {"label": ["A", "B"]}, "variants": []},
]


@pytest.fixture(scope="module")
def odd_index(client: OpenSearch) -> Iterator[str]:
    """A shop's own index: other names, nested and multi-valued fields, missing ones, quotes, newlines, emoji, 10 kB texts."""
    client.indices.create(index="odd", body={"mappings": {"properties": {"name": {"type": "text"}, "text": {"type": "text"}, "variants": {"type": "nested"}}}})
    for number, document in enumerate(ODD):
        client.index(index="odd", id=str(number), body=document)
    client.indices.refresh(index="odd")
    yield "odd"
    client.indices.delete(index="odd")


def test_a_shops_own_index_and_fields(client: OpenSearch, opensearch_url: str, odd_index: str, address: str) -> None:
    fields = "title=name,brand=vendor.label,description=text"
    done = run(
        "install", "--opensearch", opensearch_url, "--service", address, "--index", odd_index, "--fields", fields, "--name", "odd", "--budget-ms", "20000"
    )
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        answer = search(client, odd_index, {"query": {"match": {"name": "shoe"}}, "_source": ["vendor"]}, "odd")
        products = [{"title": document["name"], "brand": (document.get("vendor") or {}).get("label"), "description": document.get("text")} for document in ODD]
        relevance = Reranker.load().score("shoe", products)
        assert ids(answer) == [str(i) for i in sorted(range(len(ODD)), key=lambda i: -relevance[i])]
        told = {hit["_id"]: hit["_score"] for hit in answer["hits"]["hits"]}
        assert [told[str(i)] for i in range(len(ODD))] == pytest.approx(relevance.tolist(), abs=1e-5)
    finally:
        assert run("remove", "--opensearch", opensearch_url, "--name", "odd").returncode == 0


def state(client: OpenSearch) -> dict[str, Any]:
    """What an installation may have left in the cluster."""

    def named(what: str) -> list[str]:
        try:
            answer = client.transport.perform_request("POST", f"{ML}/{what}/_search", body={"query": {"match_all": {}}, "size": 100})
        except NotFoundError:  # nothing of the kind was ever made
            return []
        return sorted(hit["_source"].get("name", hit["_id"]) for hit in answer["hits"]["hits"])

    return {
        "settings": client.cluster.get_settings(params={"flat_settings": "true"}),
        "pipelines": sorted(client.search_pipeline.get()) if client.search_pipeline.get() else [],
        **{what: named(what) for what in ("connectors", "models", "model_groups")},
        "defaults": client.indices.get_settings(index="demo", name="index.search.default_pipeline"),
    }


def test_installing_twice_changes_nothing_a_new_k_updates_and_removal_restores(
    client: OpenSearch, opensearch_url: str, demo_index: str, address: str, pipeline: str
) -> None:
    before = state(client)
    install = ["install", "--opensearch", opensearch_url, "--service", address, "--index", demo_index, "--name", "second", "--budget-ms", "20000", "--json"]
    first = json.loads(run(*install).stdout)
    assert first["changed"]
    assert first["status"]["works"]
    whole = state(client)
    assert json.loads(run(*install).stdout)["changed"] == []
    assert state(client) == whole
    assert json.loads(run(*install, "--k", "20", "--default").stdout)["changed"]
    assert len(state(client)["models"]) == len(whole["models"])
    body = bm25("laptop", size=30)
    by_default = ids(client.search(index=demo_index, body=body))
    assert by_default == ids(search(client, demo_index, body, "second"))
    assert by_default[20:] == ids(search(client, demo_index, body))[20:]
    assert by_default[:20] != ids(search(client, demo_index, body))[:20]
    removed = run("remove", "--opensearch", opensearch_url, "--name", "second")
    assert removed.returncode == 0, removed.stderr
    assert state(client) == before
    assert "nothing was changed" in run("remove", "--opensearch", opensearch_url, "--name", "second").stdout


def test_a_dry_run_prints_the_plan_and_changes_nothing(client: OpenSearch, opensearch_url: str, demo_index: str, address: str, pipeline: str) -> None:
    before = state(client)
    done = run(
        "install",
        "--opensearch",
        opensearch_url,
        "--service",
        "http://10.9.8.7:8000",
        "--index",
        demo_index,
        "--name",
        "dry",
        "--dry-run",
        RERANKER_API_KEY=KEY,
    )
    told = json.loads(done.stdout)
    assert "http://10\\.9\\.8\\.7:8000" in json.dumps(told["cluster_settings"]).replace("\\\\", "\\")
    assert told["search_pipeline"]["dry"]
    assert len(told["connectors"]) == 2
    assert KEY not in done.stdout + done.stderr
    assert state(client) == before


def test_a_new_index_keeps_the_default_pipeline(client: OpenSearch, opensearch_url: str, address: str, tmp_path: Path) -> None:
    catalog = tmp_path / "shop.jsonl"
    catalog.write_text("".join(json.dumps({"id": str(i), "title": f"running shoe {i}"}) + "\n" for i in range(12)))
    index = ["index", "--catalog", str(catalog), "--opensearch", opensearch_url, "--index", "shop"]
    assert run_command(*index).returncode == 0
    try:
        assert run("install", "--opensearch", opensearch_url, "--service", address, "--index", "shop", "--default", "--budget-ms", "20000").returncode == 0
        assert run_command(*index).returncode == 0
        first_stage = OpenSearchFirstStage(opensearch_url, "shop")
        assert len({hit.score for hit in first_stage.search("running shoe", 12)}) == 1, "the first stage is BM25's own"
        assert len(set(first_stage.score("running shoe", [str(i) for i in range(12)]).values())) == 1
        scores = [hit["_score"] for hit in client.search(index="shop", body={"query": {"match": {"title": "running shoe"}}})["hits"]["hits"]]
        assert len(set(scores)) > 1  # BM25 scores them all alike
    finally:
        run("remove", "--opensearch", opensearch_url, "--index", "shop")
        client.indices.delete(index="shop-*")


def test_status_says_what_is_wrong(opensearch_url: str, demo_index: str, host_of_containers: str, tmp_path: Path) -> None:
    with served(tmp_path, "--host", "0.0.0.0", environment={"RERANKER_API_KEY": KEY}) as running:
        there = f"http://{host_of_containers}:{running.url.rsplit(':', 1)[1]}"
        arguments = ["--opensearch", opensearch_url, "--index", demo_index, "--name", "keyed"]
        install = ["install", *arguments, "--service", there, "--budget-ms", "20000"]
        try:
            without = run(*install)
            assert without.returncode == 1
            assert "401" in without.stdout or "key" in without.stdout
            assert run(*install, RERANKER_API_KEY=KEY).returncode == 0
            assert run("status", *arguments).returncode == 0
            running.process.terminate()
            running.process.wait(30)
            stopped = run("status", *arguments)
            assert stopped.returncode == 1
            assert "BM25 order" in stopped.stdout
            assert "refused" in stopped.stdout
            told = without.stdout + without.stderr + stopped.stdout + stopped.stderr + running.stderr.read_text()
            assert KEY not in told
        finally:
            assert run("remove", *arguments).returncode == 0
    assert "install it" in run("status", *arguments).stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--service", "ftp://x"], "not an http or https URL"),
        (["--service", "http://user:secret@x:1"], "not an http or https URL"),
        (["--service", "http://x:1", "--index", "nothing-there"], "There is no index 'nothing-there'"),
        (["--service", "http://x:1", "--fields", "title=nowhere"], "has no field nowhere"),
        (["--service", "http://x:1", "--fields", "title="], "cannot be read"),
        (["--service", "http://x:1", "--name", "No Good"], "cannot be a search pipeline's name"),
        (["--service", "http://10.1.1.1:1", "--no-settings"], "needs these settings"),
        (["--service", "http://x:1", "--api-key-file", "/nowhere"], "cannot be read"),
    ],
)
def test_mistakes_get_a_message_and_change_nothing(client: OpenSearch, opensearch_url: str, demo_index: str, arguments: list[str], says: str) -> None:
    before = state(client)
    done = run("install", "--opensearch", opensearch_url, "--index", demo_index, *arguments)
    assert done.returncode not in (0, 1)
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr
    assert state(client) == before


def test_somebody_elses_pipeline_is_not_changed(client: OpenSearch, opensearch_url: str, demo_index: str, address: str) -> None:
    client.search_pipeline.put(id="theirs", body={"description": "theirs", "response_processors": []})
    try:
        for command in (["install", "--service", address, "--index", demo_index], ["remove"]):
            done = run(command[0], "--opensearch", opensearch_url, "--name", "theirs", *command[1:])
            assert done.returncode == 4
            assert "was not made by" in done.stderr
        assert client.search_pipeline.get(id="theirs")["theirs"]["description"] == "theirs"
    finally:
        client.search_pipeline.delete(id="theirs")


def test_installing_on_a_slow_cluster_without_an_encryption_key(address: str, tmp_path: Path) -> None:
    """On one processor, OpenSearch 2.19 needs more than its limit of three seconds for the key, and never answers the registration of a model."""
    catalogue = tmp_path / "laptops.jsonl"
    catalogue.write_text('{"id": "1", "title": "Laptop bag for a laptop"}\n{"id": "2", "title": "HP ProBook laptop"}\n', encoding="utf-8")
    settings = {"discovery.type": "single-node", "DISABLE_SECURITY_PLUGIN": "true", "node.processors": "1"}
    container = opensearch_container.node("512m", **settings).with_exposed_ports(9200)
    try:
        opensearch_container.start(container)
        url = f"http://{opensearch_container.address(container)}"
        opensearch_container.await_answer(container, url)
        command = [sys.executable, "-m", "reranker", "index", "--catalog", str(catalogue), "--opensearch", url, "--index", "laptops"]
        assert subprocess.run(command, timeout=120, check=False).returncode == 0
        done = run("install", "--opensearch", url, "--service", address, "--index", "laptops", "--budget-ms", "20000")
        assert done.returncode == 0, done.stdout + done.stderr
        with OpenSearch(url, timeout=60) as client:
            left = client.transport.perform_request("POST", f"{ML}/connectors/_search", body={"query": {"match_all": {}}})
            assert left["hits"]["hits"] == []
    finally:
        container.stop()
