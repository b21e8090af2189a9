"""Bulk indexing that survives restarts of nodes and lost answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from reranker_opensearch.connection import Cluster
from reranker_opensearch.retry import NotYet, retried

CHUNK_DOCUMENTS = 500
CHUNK_BYTES = 10_000_000
SHARD_TIMEOUT = "15s"  # OpenSearch waits so long for a lost shard, then reports it, and we retry


class Outcome(NamedTuple):
    """The result for one document."""

    document_id: str
    error: Any  # why OpenSearch rejected it; None if the index holds it


class _Line(NamedTuple):
    document_id: str
    position: int
    text: str


def create(cluster: Cluster, index: str, documents: Iterable[tuple[str, dict[str, Any]]]) -> Iterator[Outcome]:
    """Add documents to an index that nobody else writes to; yield each one's outcome.

    Args:
        cluster: the cluster.
        index: the index's name.
        documents: ids and documents; each document has a ``position`` that no other has.

    Raises:
        FirstStageError, OpenSearchException: retries did not help.
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
    times = {"request_timeout": cluster.timeout, "timeout": SHARD_TIMEOUT}  # without the first, the client would use the second as its own time-out

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

    retried(once)
    return outcomes


def _kept_before(cluster: Cluster, index: str, lines: list[_Line]) -> set[_Line]:
    """Return the documents that an earlier request indexed although its answer was lost; another product with the same id does not count."""
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
