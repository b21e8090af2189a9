"""Labelling in this process, shard by shard."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from reranker.products import Product
from reranker_distill.labelling.labeller import Labeller
from reranker_distill.labelling.shards import Shard


def label_here(
    todo: Sequence[Shard], products: Mapping[str, Product], labeller: Labeller, *, tokens_per_batch: int, on_pairs: Callable[[int], None] | None = None
) -> None:
    """Label the shards one after the other; ``on_pairs`` is told of pairs batch by batch. Stopped anywhere, at most one shard is lost."""
    for shard in todo:
        work = [(query, products[product_id]) for query, product_id in shard.work]
        shard.write(labeller.distributions(work, tokens_per_batch=tokens_per_batch, on_pairs=on_pairs))
        if on_pairs and len(shard.pairs) > len(work):
            on_pairs(len(shard.pairs) - len(work))
