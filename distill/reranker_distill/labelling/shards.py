"""How pairs are divided into Parquet shards, and which shards of a stopped labelling are done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reranker.errors import RerankerError
from reranker_distill.pairs import LabelledPair, Pair, read_labelled, write_rows

_NAME = "labels-{:05d}.parquet"

KnownLabels = Mapping[tuple[str, str], tuple[float, ...]]
"""Grade distributions of (query, product id) pairs that were labelled before."""


class Shard:
    """The pairs of one file. Pairs that differ only in their source are labelled once; those ``known`` are not labelled."""

    def __init__(self, number: int, path: Path, pairs: Sequence[Pair], known: KnownLabels) -> None:
        self.number = number
        self.path = path
        self.pairs = pairs
        self._known = {key: known[key] for pair in pairs if (key := (pair.query, pair.product_id)) in known}

    @cached_property
    def work(self) -> list[tuple[str, str]]:
        """The distinct (query, product id) pairs to label, in their first order."""
        return [key for key in dict.fromkeys((pair.query, pair.product_id) for pair in self.pairs) if key not in self._known]

    def is_done(self) -> bool:
        """Whether the file exists, can be read to its end, and holds the labels of exactly these pairs."""
        if not self.path.is_file():
            return False
        try:
            rows = read_labelled([self.path])
        except (OSError, ValueError, KeyError, TypeError):  # what pyarrow raises for a truncated or a foreign file
            return False
        return [Pair(row.query, row.product_id, row.source) for row in rows] == list(self.pairs) and all(len(row.distribution) > 1 for row in rows)

    def write(self, distributions: np.ndarray) -> None:
        """Write the shard, whole or not at all.

        Args:
            distributions: a row of grade probabilities for each pair of ``work``: (n, grades).

        Raises:
            RerankerError: the labeller gave another number of rows than there are pairs, or values that are not finite.
            OSError: the file cannot be written.
        """
        if distributions.ndim != 2 or len(distributions) != len(self.work) or not np.isfinite(distributions).all():
            raise RerankerError(
                f"The teacher's labels for {self.path.name} are unusable: shape {distributions.shape} for {len(self.work):,} pairs"
                f"{'' if np.isfinite(distributions).all() else ', and some are not finite numbers'}.",
                hint="Set teacher.bf16 = false in the recipe, which trains the teacher again.",
            )
        labels = {**self._known, **dict(zip(self.work, (tuple(float(p) for p in row) for row in distributions), strict=True))}
        write_rows(self.path, [LabelledPair(*pair, labels[pair.query, pair.product_id]) for pair in self.pairs])


class ShardPlan(NamedTuple):
    """All shards of a labelling, and those that are still to be labelled."""

    shards: list[Shard]
    todo: list[Shard]

    @property
    def paths(self) -> list[Path]:
        return [shard.path for shard in self.shards]

    @property
    def pairs_done(self) -> int:
        return sum(len(shard.pairs) for shard in self.shards) - sum(len(shard.pairs) for shard in self.todo)


def plan_shards(pairs: Sequence[Pair], folder: Path, shard_size: int, known: KnownLabels) -> ShardPlan:
    """Divide pairs into shards of ``shard_size`` distinct pairs each, in their order; a repeated pair goes to the shard of the first.

    Removes what does not belong to this labelling: unreadable shards, shards of other pairs, half-written files.
    """
    numbers: dict[tuple[str, str], int] = {}
    members: list[list[Pair]] = []
    for pair in pairs:
        number = numbers.setdefault((pair.query, pair.product_id), len(numbers) // shard_size)
        if number == len(members):
            members.append([])
        members[number].append(pair)
    shards = [Shard(number, folder / _NAME.format(number), its_pairs, known) for number, its_pairs in enumerate(members)]
    todo = [shard for shard in shards if not shard.is_done()]
    kept = {shard.path for shard in shards} - {shard.path for shard in todo}
    for path in [*folder.glob("labels-*.parquet"), *folder.glob(".labels-*.parquet.*")]:
        if path not in kept:
            path.unlink()
    return ShardPlan(shards, todo)
