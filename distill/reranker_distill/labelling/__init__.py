"""Labelling: the teacher's grade distribution for every pair, in Parquet shards that are written once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from reranker.products import Product
from reranker_distill.labelling.agreement import check_agreement
from reranker_distill.labelling.in_process import label_here
from reranker_distill.labelling.labeller import Labeller
from reranker_distill.labelling.shards import Known, deal
from reranker_distill.pairs import Pair
from reranker_distill.recipe import Labelling
from reranker_distill.teacher import load_teacher

__all__ = ["Known", "Labeller", "label_pairs"]


def label_pairs(
    pairs: Sequence[Pair],
    products: Mapping[str, Product],
    teacher: Labeller | Path,
    *,
    folder: Path,
    settings: Labelling,
    on_pairs: Callable[[int], None] | None = None,
    ray: str | None = None,
    known: Known = MappingProxyType({}),
) -> list[Path]:
    """Label pairs shard by shard into ``folder`` and return the shards' paths, with a row for each pair.

    A shard that is there and holds the labels of its pairs is kept, any other is labelled again: stopped anywhere, no more than
    the shards in work are lost. Pairs of the same query and product are labelled once.

    Args:
        teacher: a labeller, or the folder of a fine-tuned teacher, which is loaded only if a shard is still to be labelled.
        on_pairs: told the number of pairs done, including those done before; for progress.
        ray: address of a Ray cluster that does the work ("local" starts one here), instead of this process.
        known: labels that the same teacher has given before; their pairs are written, and not labelled again.

    Raises:
        RecipeError: in int8 the teacher's labels would be others than in float32.
        RerankerError: a worker failed, the cluster cannot be reached, or the teacher's labels are unusable.
        MissingExtraError: ``ray`` is given and the extra is not installed.
        OSError: a shard cannot be written; those before it are kept.
    """
    dealt = deal(pairs, folder, settings.shard_size, known)
    todo = [shard for shard in dealt.todo if shard.work]
    if todo and settings.precision == "int8" and isinstance(teacher, Path):
        check_agreement(teacher, settings.precision, pairs, products)
    if on_pairs and dealt.pairs_done:
        on_pairs(dealt.pairs_done)
    for shard in dealt.todo:
        if not shard.work:
            shard.write(np.zeros((0, 0)))
            if on_pairs:
                on_pairs(len(shard.pairs))
    if todo and ray is not None:
        from reranker_distill.labelling.on_ray import label_on_ray

        label_on_ray(todo, products, teacher, address=ray, settings=settings, on_pairs=on_pairs)
    elif todo:
        labeller = load_teacher(teacher, settings.precision) if isinstance(teacher, Path) else teacher
        label_here(todo, products, labeller, tokens_per_batch=settings.tokens_per_batch, on_pairs=on_pairs)
    return dealt.paths
