"""Labelling in this process, shard by shard."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from reranker.products import Product
from reranker_distill.labelling.labeller import Labeller
from reranker_distill.labelling.shards import Shard


def label_in_process(todo: Sequence[Shard], products: Mapping[str, Product], labeller: Labeller, *, on_pairs: Callable[[int], None] | None = None) -> None:
    """Label the shards one after the other; ``on_pairs`` is called after each batch. A kill loses one shard at most."""
    for shard in todo:
        work = [(query, products[product_id]) for query, product_id in shard.work]
        shard.write(labeller.distributions(work, on_pairs=on_pairs))
        if on_pairs and len(shard.pairs) > len(work):
            on_pairs(len(shard.pairs) - len(work))
