"""Labelling: the teacher's grade distribution for every pair, in Parquet shards that are written once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from reranker.products import Product
from reranker_distill.labelling.shards import KnownLabels, Shard, plan_shards
from reranker_distill.pairs import Pair
from reranker_distill.teacher import Labeller, load_teacher

__all__ = ["KnownLabels", "Labeller", "label_pairs"]

SHARD_SIZE = 2_000
"""Pairs that are labelled and stored at a time: what a kill loses at most."""


def label_pairs(
    pairs: Sequence[Pair],
    products: Mapping[str, Product],
    teacher: Labeller | Path,
    *,
    folder: Path,
    shard_size: int = SHARD_SIZE,
    on_pairs: Callable[[int], None] | None = None,
    ray: str | None = None,
    known: KnownLabels = MappingProxyType({}),
) -> list[Path]:
    """Label pairs shard by shard into ``folder`` and return the shards' paths, with a row for each pair.

    A shard that holds the labels of its pairs is kept, any other is labelled again. Pairs of the same query and product are
    labelled once.

    Args:
        teacher: a labeller, or the folder of a teacher, which is loaded only if a shard is still to be labelled.
        on_pairs: called with the number of pairs done, including those done before.
        ray: address of a Ray cluster that does the work ("local" starts one here), instead of this process.
        known: labels that the same teacher gave before; they are written without labelling again.

    Raises:
        RerankerError: a worker failed, the cluster cannot be reached, or the teacher's labels are unusable.
        MissingExtraError: ``ray`` is given and the extra is not installed.
        OSError: a shard cannot be written; those before it are kept.
    """
    plan = plan_shards(pairs, folder, shard_size, known)
    if on_pairs and plan.pairs_done:
        on_pairs(plan.pairs_done)
    for shard in plan.todo:
        if not shard.work:
            shard.write(np.zeros((0, 0)))
            if on_pairs:
                on_pairs(len(shard.pairs))
    todo = [shard for shard in plan.todo if shard.work]
    if todo and ray is not None:
        from reranker_distill.labelling.on_ray import label_on_ray

        label_on_ray(todo, products, teacher, address=ray, on_pairs=on_pairs)
    elif todo:
        labeller = load_teacher(teacher) if isinstance(teacher, Path) else teacher
        for shard in todo:
            _label(shard, products, labeller, on_pairs)
    return plan.paths


def _label(shard: Shard, products: Mapping[str, Product], labeller: Labeller, on_pairs: Callable[[int], None] | None) -> None:
    shard.write(labeller.distributions([(query, products[product_id]) for query, product_id in shard.work], on_pairs=on_pairs))
    if on_pairs and len(shard.pairs) > len(shard.work):
        on_pairs(len(shard.pairs) - len(shard.work))
