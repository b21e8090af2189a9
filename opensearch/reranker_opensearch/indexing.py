"""Indexes a catalogue behind an alias: at every moment, searches see either the whole old index or the whole new one."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from opensearchpy.exceptions import NotFoundError, OpenSearchException, RequestError

from reranker.errors import FirstStageError, InputError
from reranker.first_stage import check_index_name
from reranker.products import CatalogProblem, Product, listed, read_catalog
from reranker.progress import counting_products
from reranker_opensearch import bulk
from reranker_opensearch.connection import INDEX_TIMEOUT_S, Cluster
from reranker_opensearch.mapping import MAPPING, check_ours, document, indexes_behind, settings
from reranker_opensearch.retry import NotYet, poll, retried

MAX_REJECTED = 1_000
DRAIN_S = 10.0


def index_products(
    cluster: Cluster,
    name: str,
    products: Iterable[Product],
    *,
    shards: int = 1,
    replicas: int | None = None,
    skip_rejected: bool = False,
    rejected: list[CatalogProblem] | None = None,
    on_product: Callable[[], None] | None = None,
) -> int:
    """Fill a new index and switch the alias ``name`` to it; return how many products it holds.

    Requests are retried while a node restarts. After any other failure before the switch, the new index is deleted and the old one
    goes on serving.

    Args:
        cluster: the cluster.
        name: the alias for searches; the index's own name is made from it and the time.
        products: as ``read_catalog`` yields them.
        shards: number of shards. With more than one, each shard has its own word statistics, so scores differ slightly.
        replicas: copies of each shard; None keeps one if there is a second node for it.
        skip_rejected: leave out products that OpenSearch rejects instead of failing.
        rejected: receives them.
        on_product: called after each product, for progress.

    Raises:
        InputError: the name, shards or replicas cannot be used.
        FirstStageError: the name belongs to an index that this project did not make, products were rejected,
            or the cluster cannot be reached or refuses access.
        CatalogError: from ``products``.
    """
    check_index_name(name)
    if not 1 <= shards <= 1_024 or not 0 <= (replicas or 0) <= 100:
        raise InputError(f"{shards:,} shards and {replicas} replicas are out of range.", hint="Give 1 to 1,024 shards and 0 to 100 replicas.")
    _check_free(cluster, name)
    new = f"{name}-{datetime.now(UTC):%Y%m%d%H%M%S}-{uuid.uuid4().hex[:6]}"
    rejected = rejected if rejected is not None else []
    client = cluster.client
    with cluster.errors():
        try:
            retried(lambda: _create(cluster, new, shards))
            count = _fill(cluster, new, products, rejected, on_product)
            if rejected and (not skip_rejected or len(rejected) >= MAX_REJECTED or not count):
                raise _too_many(cluster, rejected)
            found = retried(lambda: _count(cluster, new))
            if found != count:
                raise FirstStageError(f"OpenSearch at {cluster.url} holds {found:,} of the {count:,} products it took.", hint="Index again.")
            _keep_default_pipeline(cluster, name, new)
            kept = {"auto_expand_replicas": "0-1"} if replicas is None else {"number_of_replicas": replicas}
            retried(lambda: client.indices.put_settings(index=new, body={"index": {"refresh_interval": None, **kept}}))
            old = _switch(cluster, name, new)
        except BaseException:
            _discard(cluster, new)
            raise
        for index in old:
            retried(partial(_drain, cluster, index))
            retried(partial(client.indices.delete, index=index, params={"ignore_unavailable": "true"}))
    return count


def index_catalog(
    url: str,
    name: str,
    catalog: Path,
    *,
    shards: int = 1,
    replicas: int | None = None,
    skip_invalid: bool = False,
    problems: list[CatalogProblem] | None = None,
    quiet: bool = False,
    locale: str | None = None,
) -> int:
    """Index a catalogue file (or one locale of ESCI's table), with a progress line on the terminal; return the number of products."""
    cluster = Cluster(url, timeout=INDEX_TIMEOUT_S)
    rejected: list[CatalogProblem] = []
    products = read_catalog(catalog, on_problem="skip" if skip_invalid else "refuse", problems=problems, locale=locale)
    try:
        with counting_products(catalog.name, quiet=quiet) as count_one:
            count = index_products(
                cluster,
                name,
                products,
                shards=shards,
                replicas=replicas,
                skip_rejected=skip_invalid,
                rejected=rejected,
                on_product=count_one,
            )
        if problems is not None:
            problems += rejected
        return count
    finally:
        cluster.close()


def _check_free(cluster: Cluster, name: str) -> dict[str, dict[str, Any]]:
    """Return our indexes behind the alias; raise FirstStageError if the name is used for anything else."""
    found = indexes_behind(cluster, name)
    check_ours(cluster, name, found)
    if name in found:
        raise FirstStageError(
            f"'{name}' is an index at {cluster.url}, not an alias, so it cannot be switched to a new index.",
            hint="Use another name: --index NAME",
        )
    return found


def _create(cluster: Cluster, index: str, shards: int) -> None:
    try:
        cluster.client.indices.create(index=index, body={"settings": settings(shards), "mappings": MAPPING})
    except RequestError as error:
        if error.error != "resource_already_exists_exception":  # an earlier request made it and its answer was lost: nobody else knows the name
            raise


def _fill(cluster: Cluster, index: str, products: Iterable[Product], rejected: list[CatalogProblem], on_product: Callable[[], None] | None) -> int:
    count = 0
    documents = ((str(product["id"]), document(product, position)) for position, product in enumerate(products))
    for outcome in bulk.create(cluster, index, documents):
        if outcome.error is None:
            count += 1
        else:
            rejected.append(CatalogProblem(None, outcome.document_id, _why(outcome.error)))
            if len(rejected) >= MAX_REJECTED:
                break
        if on_product:
            on_product()
    return count


def _count(cluster: Cluster, index: str) -> int:
    """Return the number of searchable products once every shard has answered."""
    for answer in (cluster.client.indices.refresh(index=index), cluster.client.count(index=index)):
        if answer["_shards"]["successful"] < answer["_shards"]["total"]:
            raise NotYet(f"OpenSearch at {cluster.url} has lost a part of the new index.", hint="Are all its nodes up? Index again.")
    return int(answer["count"])


def _why(error: Any) -> str:
    if not isinstance(error, dict):
        return str(error)[:300]
    cause = error.get("caused_by") or {}
    return ": ".join(str(part) for part in (error.get("reason"), cause.get("reason")) if part)[:300]


def _too_many(cluster: Cluster, rejected: list[CatalogProblem]) -> FirstStageError:
    return FirstStageError(
        f"OpenSearch at {cluster.url} rejected {len(rejected):,} product(s):\n{listed(rejected)}",
        hint="Correct them, or leave them out with --skip-invalid, which lists them. The old index is unchanged.",
    )


def _switch(cluster: Cluster, name: str, new: str) -> set[str]:
    """Point the alias to the new index, in one step; return the indexes it pointed to."""
    old: set[str] = set()

    def once() -> None:
        found = set(_check_free(cluster, name))  # another run may have switched since, or this one and the answer was lost
        old.update(found - {new})
        if found != {new}:
            removed = [{"remove": {"index": index, "alias": name}} for index in found]
            cluster.client.indices.update_aliases(body={"actions": [*removed, {"add": {"index": new, "alias": name}}]})

    retried(once)
    return old


def _keep_default_pipeline(cluster: Cluster, name: str, new: str) -> None:
    """Give the new index the default search pipeline of the one it replaces."""
    setting = "index.search.default_pipeline"
    answer = cluster.client.indices.get_settings(index=name, name=setting, params={"flat_settings": "true", "ignore_unavailable": "true"})
    found = [about["settings"][setting] for about in answer.values() if setting in about["settings"]]
    if found:
        cluster.client.indices.put_settings(index=new, body={setting: found[0]})


def _drain(cluster: Cluster, index: str) -> None:
    """Wait up to ``DRAIN_S`` until no search runs on the old index any more, so that its removal interrupts none."""

    def busy() -> bool:
        try:
            search = cluster.client.indices.stats(index=index, metric="search")["_all"]["total"]["search"]
        except NotFoundError:
            return False
        return any(search.get(count) for count in ("query_current", "fetch_current", "open_contexts"))

    poll(busy, done=lambda still: not still, seconds=DRAIN_S)


def _discard(cluster: Cluster, index: str) -> None:
    """Delete an incomplete index. Errors are ignored: the caller raises the one that came first."""
    with suppress(OpenSearchException):
        if any(about["aliases"] for about in cluster.client.indices.get_alias(index=index, params={"ignore_unavailable": "true"}).values()):
            return  # the switch was made and only its answer was lost: searches use this index
        cluster.client.indices.delete(index=index, params={"ignore_unavailable": "true"})
