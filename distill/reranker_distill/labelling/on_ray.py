"""Labelling as a Ray Data job: the cluster's workers label, this process writes the shards as they arrive."""

from __future__ import annotations

import importlib.util
import inspect
import logging
import os
import socket
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from reranker.errors import MissingExtraError, RerankerError
from reranker.products import Product
from reranker_distill.labelling.shards import Shard
from reranker_distill.labelling.shipped_teacher import ShippedTeacher, ship
from reranker_distill.teacher import Labeller, WithCheckpoint, load_teacher

LOCAL = "local"
_RETRIES = 2
"""How often a worker that died is restarted: a teacher too large for the nodes' memory would be restarted for ever."""


class ShardLabeller:
    """A worker: loads the teacher with its first shard, then labels one shard after the other."""

    def __init__(self, teacher: Any, checkpoint: ShippedTeacher | None, products: Any) -> None:
        self._teacher, self._checkpoint, self._products_ref = teacher, checkpoint, products
        self._labeller: Labeller | None = None
        self._products: Mapping[str, Product] = {}

    def __call__(self, shard: Any) -> Any:
        """Turn a table of one row (``shard``, ``queries``, ``product_ids``) into one of its labels, float32 as bytes, or of an error.

        An error is returned and not raised: Ray would wrap it in an error of its own, with a traceback.
        """
        import pyarrow as pa

        (row,) = shard.to_pylist()
        labels, error = np.zeros((0, 0), dtype=np.float32), None
        try:
            labeller = self._ready()
            work = [(query, self._products[product_id]) for query, product_id in zip(row["queries"], row["product_ids"], strict=True)]
            labels = np.asarray(labeller.distributions(work, on_pairs=None), dtype=np.float32)
        except Exception as raised:
            traceback.print_exc()  # into the worker's log
            error = str(raised) if isinstance(raised, RerankerError) else f"{type(raised).__name__}: {raised}"
        columns = {"shard": [row["shard"]], "labels": [labels.tobytes()], "width": [labels.shape[-1]], "error": [error], "node": [os.uname().nodename]}
        return pa.table(
            columns, schema=pa.schema([("shard", "int64"), ("labels", "large_binary"), ("width", "int64"), ("error", "string"), ("node", "string")])
        )

    def _ready(self) -> Labeller:
        import ray

        if self._labeller is None:
            if isinstance(self._teacher, ShippedTeacher):
                self._labeller = load_teacher(self._teacher.folder(ray.get))
            else:
                labeller: Any = ray.get(self._teacher)
                self._labeller = labeller.with_checkpoint(self._checkpoint.folder(ray.get)) if self._checkpoint else labeller
            self._products = ray.get(self._products_ref)
        return self._labeller


def label_on_ray(
    todo: Sequence[Shard],
    products: Mapping[str, Product],
    teacher: Labeller | Path,
    *,
    address: str,
    on_pairs: Callable[[int], None] | None = None,
) -> None:
    """Label the shards on the cluster at ``address``; ``on_pairs`` is called after each shard. A kill loses the shards in work.

    Raises:
        MissingExtraError: Ray is not installed.
        RerankerError: the cluster cannot be reached, or a worker failed.
        OSError: a shard cannot be written.
    """
    with connected(address):
        import pyarrow as pa
        import ray

        other_nodes = {node["NodeID"] for node in _working_nodes()} - {ray.get_runtime_context().get_node_id()}
        wanted = {product_id for shard in todo for _, product_id in shard.work}
        checkpoint = teacher.checkpoint() if isinstance(teacher, WithCheckpoint) else None
        arguments = {
            "teacher": ship(teacher, ray.put if other_nodes else None) if isinstance(teacher, Path) else ray.put(teacher),
            "checkpoint": ship(checkpoint, ray.put if other_nodes else None) if checkpoint else None,
            "products": ray.put({product_id: products[product_id] for product_id in wanted}),
        }
        workers, needs = _workers(len(todo))
        tables = [pa.table({"shard": [s.number], "queries": [[q for q, _ in s.work]], "product_ids": [[p for _, p in s.work]]}) for s in todo]
        labelled = _map(ray.data.from_arrow(tables), fn_constructor_kwargs=arguments, compute=ray.data.ActorPoolStrategy(size=workers), **needs)
        by_number = {shard.number: shard for shard in todo}
        for row in _rows(labelled):
            shard = by_number.pop(row["shard"])
            if row["error"] is not None:
                raise RerankerError(
                    f"Labelling {shard.path.name} failed on {row['node']}: {row['error']}",
                    hint="The shards finished before are kept; run the same command again when this is fixed.",
                )
            shard.write(np.frombuffer(row["labels"], dtype=np.float32).reshape(-1, max(1, row["width"])))
            if on_pairs:
                on_pairs(len(shard.pairs))
        if by_number:
            raise RerankerError(f"The Ray cluster ended without labels for {len(by_number)} shards.", hint="Run the same command again: it labels those.")


@contextmanager
def connected(address: str, *, cpus: int | None = None) -> Iterator[None]:
    """Connect to a Ray cluster; "local" starts one on this machine, of ``cpus`` cores (all, where not given).

    An existing connection is used, and left open.

    Raises:
        MissingExtraError: Ray is not installed.
        RerankerError: nothing usable answers at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("Labelling on Ray", "ray") from error
    if ray.is_initialized():
        yield
        return
    check_address(address)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address == LOCAL:
            ray.init(address=LOCAL, num_cpus=cpus, include_dashboard=False, **quiet)
        else:
            ray.init(address=address, runtime_env={"py_modules": _our_code(), "excludes": ["data", "bundles"]}, **quiet)
    except Exception as error:  # Ray raises many types, down to Exception itself
        raise _unusable(address, error) from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # the user sees our errors instead
    try:
        yield
    finally:
        ray.shutdown()


def check_address(address: str) -> None:
    """Check that something listens at HOST:PORT: Ray would try for minutes.

    Raises:
        MissingExtraError: Ray is not installed.
        RerankerError: nothing listens there, or it is the address of a Ray Client.
    """
    if importlib.util.find_spec("ray") is None:
        raise MissingExtraError("Labelling on Ray", "ray")
    if address.startswith("ray://"):
        raise RerankerError(f"Labelling cannot go through a Ray Client ({address}).", hint='Run it on a node of the cluster, and give "auto" or HOST:6379.')
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        except OSError as error:
            raise _unusable(address, error) from error


def _unusable(address: str, error: Exception) -> RerankerError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    versions = f"Python {sys.version_info.major}.{sys.version_info.minor} and Ray {metadata.version('ray')}"
    return RerankerError(
        f"No Ray cluster can be used at {address}: {reason[:300]}",
        hint=f'Is it up, with {versions} as here, and its token, if it has one, in RAY_AUTH_TOKEN? "local" starts a cluster on this machine.',
    )


def _our_code() -> list[str]:
    """Return the packages that workers run, as they are here; the nodes must have what the packages import."""
    import reranker
    import reranker_distill

    return [str(Path(str(package.__file__)).parent) for package in (reranker_distill, reranker)]


def _working_nodes() -> list[dict[str, Any]]:
    """Return the nodes that accept work: a head node often has no resources."""
    import ray

    return [node for node in ray.nodes() if node["Alive"] and (node["Resources"].get("CPU", 0) >= 1 or node["Resources"].get("GPU", 0) >= 1)]


def _workers(shards: int) -> tuple[int, dict[str, int]]:
    """Return how many workers fit, at most one a shard, and what each needs: a GPU, or a node's cores."""
    resources = [node["Resources"] for node in _working_nodes()]
    if gpus := sum(int(each.get("GPU", 0)) for each in resources):
        return min(gpus, shards), {"num_gpus": 1}
    if not resources:
        raise RerankerError("The Ray cluster has neither CPUs nor GPUs to work with.", hint="Start worker nodes, or see `ray status`.")
    cores = min(int(each["CPU"]) for each in resources)  # one teacher per node: its threads use all cores, and the weights are in memory once
    return min(sum(int(each["CPU"]) // cores for each in resources), shards), {"num_cpus": cores}


def _map(shards: Any, **options: Any) -> Any:
    """Return the dataset of labelled shards; each block, which is a shard, is a task."""
    options |= {"batch_size": None, "batch_format": "pyarrow"}
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in inspect.signature(shards.map_batches).parameters.values()):
        options |= {"max_restarts": _RETRIES, "max_task_retries": _RETRIES}  # later versions of Ray accept neither, and restart for ever
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about their deprecation
        return shards.map_batches(ShardLabeller, **options)


def _rows(labelled: Any) -> Iterator[dict[str, Any]]:
    """Yield the job's rows as they arrive.

    Raises:
        RerankerError: Ray gave up.
    """
    tables = iter(labelled.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))
    while True:
        try:
            table = next(tables)
        except StopIteration:
            return
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
            raise RerankerError(
                f"The labelling job failed on the Ray cluster: {reason[:300]}",
                hint="Do its nodes have the libraries of the extra distill, and memory for the teacher? Shards finished before are kept.",
            ) from error
        yield from table.to_pylist()
