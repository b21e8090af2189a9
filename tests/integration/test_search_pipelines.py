"""The processors that fetch more hits than requested and truncate them: the official image and the local one must agree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opensearchpy import OpenSearch, RequestError, TransportError

pytestmark = pytest.mark.integration

INDEX = "numbers"


@pytest.fixture(scope="module")
def client(opensearch_url: str) -> Iterator[OpenSearch]:
    client = OpenSearch(opensearch_url)
    lines = [line for i in range(40) for line in ({"index": {"_id": str(i)}}, {"n": i, "group": f"g{i % 4}"})]
    client.bulk(index=INDEX, body=lines, params={"refresh": "true"})
    yield client
    client.indices.delete(index=INDEX)
    client.close()


def search(client: OpenSearch, pipeline: dict[str, Any], **body: Any) -> Any:
    sorted_body = {"sort": [{"n": "asc"}], "track_total_hits": True, **body}
    return client.search(index=INDEX, body={**sorted_body, "search_pipeline": pipeline})


def ids(answer: dict[str, Any]) -> list[int]:
    return [int(hit["_id"]) for hit in answer["hits"]["hits"]]


def oversample(**settings: Any) -> dict[str, Any]:
    return {"request_processors": [{"oversample": settings}]}


def truncate(**settings: Any) -> dict[str, Any]:
    return {"response_processors": [{"truncate_hits": settings}]}


@pytest.mark.parametrize(("size", "factor", "found"), [(4, 2, 8), (3, 1.5, 5), (None, 1.25, 13), (6, 1, 6), (0, 3, 0)])
def test_oversampling_asks_for_more_hits_rounding_up(client: OpenSearch, size: int | None, factor: float, found: int) -> None:
    asked = {} if size is None else {"size": size}
    assert ids(search(client, oversample(sample_factor=factor), **asked)) == list(range(found))


@pytest.mark.parametrize(("size", "found"), [(5, 5), (None, 10), (39, 39)])
def test_truncation_returns_what_was_asked_for(client: OpenSearch, size: int | None, found: int) -> None:
    asked = {} if size is None else {"size": size}
    assert ids(search(client, {**oversample(sample_factor=3), **truncate()}, **asked)) == list(range(found))


def test_a_fixed_size_needs_no_oversampling(client: OpenSearch) -> None:
    assert ids(search(client, truncate(target_size=3), size=20)) == [0, 1, 2]
    assert ids(search(client, truncate(target_size=30), size=20)) == list(range(20))


def test_the_rest_of_the_answer_is_unchanged(client: OpenSearch) -> None:
    groups = {"groups": {"terms": {"field": "group.keyword", "order": {"_key": "asc"}}}}
    suggest = {"spelling": {"text": "g9", "term": {"field": "group"}}}
    body = {"size": 2, "aggs": groups, "suggest": suggest, "profile": True}
    plain = client.search(index=INDEX, body={"track_total_hits": True, "sort": [{"n": "asc"}], **body})
    cut = search(client, {**oversample(sample_factor=5), **truncate()}, **body)
    for part in ("aggregations", "suggest", "timed_out", "_shards"):
        assert cut[part] == plain[part]
    assert cut["hits"] == plain["hits"]
    assert cut["profile"]["shards"]


def test_collapsed_hits_and_points_in_time_are_truncated_too(client: OpenSearch) -> None:
    collapsed = search(client, truncate(target_size=3), size=10, collapse={"field": "group.keyword"})
    assert ids(collapsed) == [0, 1, 2]
    assert [hit["fields"]["group.keyword"] for hit in collapsed["hits"]["hits"]] == [["g0"], ["g1"], ["g2"]]
    pit = client.create_pit(index=INDEX, params={"keep_alive": "1m"})["pit_id"]
    body = {"pit": {"id": pit}, "size": 9, "sort": [{"n": "asc"}], "search_pipeline": truncate(target_size=2)}
    answer = client.search(body=body)
    assert ids(answer) == [0, 1]
    assert answer["pit_id"] == pit
    client.delete_pit(body={"pit_id": [pit]})


def test_without_any_size_the_search_fails(client: OpenSearch) -> None:
    with pytest.raises(TransportError, match="original_size"):
        search(client, truncate(), size=3)


@pytest.mark.parametrize("pipeline", [oversample(sample_factor=0.5), oversample(), truncate(target_size=-1), truncate(target_size="many")])
def test_settings_that_make_no_sense_are_refused(client: OpenSearch, pipeline: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        client.http.put("/_search/pipeline/wrong", body=pipeline)
