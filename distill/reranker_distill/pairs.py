"""(query, product) pairs, with and without labels, and the Parquet files that hold them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from reranker.folders import whole_file


class Pair(NamedTuple):
    """A (query, product) pair; ``source`` says where query and product come from, such as ``log/rank 12``."""

    query: str
    product_id: str
    source: str


class LabelledPair(NamedTuple):
    """A pair with the teacher's grade distribution, a probability per grade from 0 up; ``fused`` is its relevance after label fusion."""

    query: str
    product_id: str
    source: str
    distribution: tuple[float, ...]
    fused: float | None = None

    @property
    def relevance(self) -> float:
        """What the student learns: the fused relevance, or the teacher's expected grade scaled to 0–1."""
        if self.fused is not None:
            return self.fused
        return sum(grade * p for grade, p in enumerate(self.distribution)) / (len(self.distribution) - 1)


def write_rows(path: Path, rows: Sequence[Any]) -> None:
    """Write named tuples of one type as Parquet, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with whole_file(path) as staging:
        pq.write_table(pa.Table.from_pylist([row._asdict() for row in rows]), staging, write_page_checksum=True)


def read_pairs(path: Path) -> list[Pair]:
    import pyarrow.parquet as pq

    return [Pair(**row) for row in pq.read_table(path).to_pylist()]


def read_labelled(paths: Sequence[Path]) -> list[LabelledPair]:
    import pyarrow.parquet as pq

    rows = (row for path in paths for row in pq.read_table(path, page_checksum_verification=True).to_pylist())
    return [LabelledPair(r["query"], r["product_id"], r["source"], tuple(r["distribution"]), r.get("fused")) for r in rows]


def labelled_in(folder: Path) -> list[LabelledPair]:
    """Return the pairs of all shards of labels in a folder."""
    return read_labelled(sorted(folder.glob("labels-*.parquet")))


def by_query(labelled: Iterable[LabelledPair]) -> dict[str, list[LabelledPair]]:
    """Return each query's pairs, queries in their first order."""
    grouped: dict[str, list[LabelledPair]] = defaultdict(list)
    for pair in labelled:
        grouped[pair.query].append(pair)
    return grouped


def relevance_in(folder: Path) -> dict[tuple[str, str], float]:
    """Return the relevance of each (query, product id) in a folder's shards of labels."""
    return {(pair.query, pair.product_id): pair.relevance for pair in labelled_in(folder)}
