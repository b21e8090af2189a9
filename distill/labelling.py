"""Labelling: the teacher's grade distribution for every pair, in Parquet shards that are written once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from distill.pairs import LabelledPair, Pair, write_rows
from distill.recipe import Labelling
from reranker.products import Product


class Labeller(Protocol):
    """Anything that gives grade distributions; ``Teacher`` is one."""

    def distributions(self, pairs: Sequence[tuple[str, Product]], *, tokens_per_batch: int, on_pairs: Callable[[int], None] | None) -> np.ndarray: ...


def label_pairs(
    pairs: Sequence[Pair],
    products: Mapping[str, Product],
    teacher: Labeller,
    *,
    folder: Path,
    settings: Labelling,
    on_pairs: Callable[[int], None] | None = None,
) -> list[Path]:
    """Label pairs shard by shard into ``folder`` and return the shards' paths; a shard already there is kept.

    Stopped anywhere, at most the shard in work is lost.
    """
    shards = []
    for number, start in enumerate(range(0, len(pairs), settings.shard_size)):
        path = folder / f"labels-{number:05d}.parquet"
        shard = pairs[start : start + settings.shard_size]
        shards.append(path)
        if path.is_file():
            if on_pairs:
                on_pairs(len(shard))
            continue
        distributions = teacher.distributions([(p.query, products[p.product_id]) for p in shard], tokens_per_batch=settings.tokens_per_batch, on_pairs=on_pairs)
        write_rows(path, [LabelledPair(*pair, tuple(float(x) for x in row)) for pair, row in zip(shard, distributions, strict=True)])
    return shards
