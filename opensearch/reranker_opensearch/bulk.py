"""Sending documents in bulk, so that none is lost and none is sent in vain while nodes restart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from reranker_opensearch.connection import Cluster
from reranker_opensearch.patience import NotYet, patiently

CHUNK_DOCUMENTS = 500
CHUNK_BYTES = 10_000_000
SHARD_TIMEOUT = "15s"  # how long OpenSearch waits for a lost shard before it tells us; then we ask again


class Outcome(NamedTuple):
    """What became of a document."""

    document_id: str
    error: Any  # OpenSearch's reason against it; None where the index holds it


class _Line(NamedTuple):
    document_id: str
    position: int
    text: str


def create(cluster: Cluster, index: str, documents: Iterable[tuple[str, dict[str, Any]]]) -> Iterator[Outcome]:
    """Put documents into an index that nobody else writes to; yield what became of each.

    Args:
        cluster: where.
        index: the index.
        documents: ids and documents; each document's ``position`` is its own.

    Raises:
        FirstStageError, OpenSearchException: documents could not be brought in however often they were sent.
    """
    for chunk in _chunks(cluster, documents):
        yield from _send(cluster, index, chunk)


def _chunks(cluster: Cluster, documents: Iterable[tuple[str, dict[str, Any]]]) -> Iterator[list[_Line]]:
    dumps = cluster.client.transport.serializer.dumps
    chunk: list[_Line] = []
    size = 0
    for document_id, document in documents:
        line = _Line(document_id, document["position"], f"{dumps({'create': {'_id': document_id}})}\n{dumps(document)}\n")
        length = len(line.text.encode())
        if chunk and (len(chunk) == CHUNK_DOCUMENTS or size + length > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(line)
        size += length
    if chunk:
        yield chunk


def _send(cluster: Cluster, index: str, chunk: list[_Line]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    left = chunk
    times = {"request_timeout": cluster.timeout, "timeout": SHARD_TIMEOUT}  # the client takes the second for its own where the first is missing

    def once() -> None:
        nonlocal left
        answer = cluster.client.bulk(index=index, body="".join(line.text for line in left), params=times)
        items = [(line, item["create"]) for line, item in zip(left, answer["items"], strict=True)]
        kept = _kept_before(cluster, index, [line for line, item in items if item["status"] == 409])
        put_off = [(line, item) for line, item in items if item["status"] == 429 or item["status"] >= 500]
        decided = [(line, item) for line, item in items if item["status"] < 500 and item["status"] != 429]
        outcomes.extend(Outcome(line.document_id, None if item["status"] < 300 or line in kept else item.get("error")) for line, item in decided)
        left = [line for line, _ in put_off]
        if put_off:
            why = put_off[0][1].get("error")
            reason = why.get("reason") if isinstance(why, dict) else why
            raise NotYet(f"OpenSearch at {cluster.url} did not take {len(left):,} product(s): {str(reason)[:300]}", hint="Are all its nodes up?")

    patiently(once)
    return outcomes


def _kept_before(cluster: Cluster, index: str, lines: list[_Line]) -> set[_Line]:
    """Return those that the index holds because an earlier request brought them, its answer having got lost; another product of the same id is none."""
    if not lines:
        return set()
    answer = cluster.client.mget(index=index, body={"ids": [line.document_id for line in lines]}, params={"_source_includes": "position"})
    kept = set()
    for line, found in zip(lines, answer["docs"], strict=True):
        if "error" in found:
            raise NotYet(f"OpenSearch at {cluster.url} cannot say whether it holds product {line.document_id}.", hint="Are all its nodes up?")
        if found.get("found") and found["_source"]["position"] == line.position:
            kept.add(line)
    return kept
