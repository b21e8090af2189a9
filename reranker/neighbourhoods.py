"""Product vectors that lean on their neighbours': a misleading title is outvoted by the products it is like, at no cost to a search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from reranker.products import Product

ATTRIBUTE_WEIGHT = 0.5
"""What having all attribute names in common counts beside a cosine of 1."""

_SIGNS = 256
_LIKENESSES_AT_A_TIME = 10_000_000
"""Numbers in a block of products by the catalogue's: 40 MB."""
SOUGHT_AMONG_ALL = 50_000
"""The largest catalogue in which neighbours are sought among all products; in larger ones some are missed."""
_REGIONS_NEARBY = 16


class Neighbourhoods(NamedTuple):
    """How neighbours are chosen: at most ``most`` of them, the product itself counted, each at least ``least`` as like it as itself; they give ``share``."""

    most: int = 10
    least: float = 0.6
    share: float = 0.5


DEFAULT = Neighbourhoods()


def lean_on_neighbours(
    vectors: np.ndarray,
    attribute_names: np.ndarray,
    neighbourhoods: Neighbourhoods = DEFAULT,
    *,
    on_products: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Return the catalogue's vectors, each mixed with the mean of its nearest products': float32 (n, width), of length 1 in the mean.

    A product whose neighbours point elsewhere gets a shorter vector, and so stands lower for every query; they are not made
    unit vectors again. Time grows with the square of ``n``, beyond ``SOUGHT_AMONG_ALL`` with its power of 1.5. The score being
    a dot product, this is the mean of the products' scores: F. Diaz, Regularizing ad hoc retrieval scores, CIKM 2005.

    Args:
        vectors: the products' own, of unit length, (n, width).
        attribute_names: of the same products, from ``sketch_attribute_names``.
        on_products: told how many more products are done.
    """
    vectors = vectors.astype(np.float32)
    leant = np.empty_like(vectors)
    for rows, nearest, weights in _nearest(vectors, attribute_names, neighbourhoods):
        of_neighbours = np.einsum("nk,nkw->nw", weights, vectors[nearest])
        leant[rows] = (1 - neighbourhoods.share) * vectors[rows] + neighbourhoods.share * of_neighbours
        if on_products:
            on_products(len(of_neighbours))
    return leant / max(float(np.linalg.norm(leant, axis=1).mean()), 1e-9) if len(leant) else leant


def _nearest(vectors: np.ndarray, attribute_names: np.ndarray, wanted: Neighbourhoods) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield rows, their nearest products, (rows, k), and those products' weights, which sum to 1."""
    described = np.concatenate([vectors, np.float32(ATTRIBUTE_WEIGHT**0.5) * attribute_names], axis=1)
    of_itself = np.square(described).sum(axis=1)
    for members, candidates in _regions(described):
        k = min(wanted.most, len(candidates))
        for rows in np.array_split(members, -(-len(members) * len(candidates) // _LIKENESSES_AT_A_TIME)):
            likeness = described[rows] @ described[candidates].T
            likeness[np.arange(len(rows)), np.searchsorted(candidates, rows)] += 1e-3  # itself before its equals
            nearest = np.argpartition(-likeness, k - 1, axis=1)[:, :k]
            near_enough = np.take_along_axis(likeness, nearest, axis=1) >= wanted.least * of_itself[rows, None]
            yield rows, candidates[nearest], (near_enough / near_enough.sum(axis=1, keepdims=True)).astype(np.float32)


def _regions(described: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield products and those among which their neighbours are sought, both ascending: all, or in a large catalogue those of regions nearby.

    A region is what is nearest to one of as many products, drawn at random, as the square root of the catalogue. Source:
    J. Sivic and A. Zisserman, Video Google, ICCV 2003 (an inverted file of cells).
    """
    everything = np.arange(len(described))
    if len(described) <= SOUGHT_AMONG_ALL:
        if len(described):
            yield everything, everything
        return
    centres = described[np.random.default_rng(0).choice(len(described), round(len(described) ** 0.5), replace=False)]
    at_a_time = max(1, _LIKENESSES_AT_A_TIME // len(centres))
    region = np.concatenate([(described[start : start + at_a_time] @ centres.T).argmax(axis=1) for start in range(0, len(described), at_a_time)])
    by_region = np.split(np.argsort(region, kind="stable"), np.cumsum(np.bincount(region, minlength=len(centres)))[:-1])
    nearby = np.argsort(-(centres @ centres.T), axis=1)[:, :_REGIONS_NEARBY]
    for members, regions in zip(by_region, nearby, strict=True):
        if len(members):
            yield members, np.unique(np.concatenate([members, *(by_region[near] for near in regions)]))


def sketch_attribute_names(products: Sequence[Product | str]) -> np.ndarray:
    """Return vectors whose cosines are about those of the products' tf-idf vectors of attribute names: float32 (n, 256).

    Toner cartridges have a page yield, notebooks a keyboard layout. A product without names that another has too gets zeros.
    Each name stands for random signs (D. Achlioptas, Database-friendly random projections, PODS 2001), the same each time.
    """
    named = [list(map(str, product.get("attributes") or {})) if isinstance(product, Mapping) else [] for product in products]
    met_in = Counter(name for names in named for name in set(names))
    signs = {name: _weight(len(products), met) * _signs_of(name) for name, met in met_in.items() if met > 1}
    out = np.zeros((len(products), _SIGNS), dtype=np.float32)
    for row, names in zip(out, named, strict=True):
        for name in names:
            if name in signs:
                row += signs[name]
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)


def _weight(products: int, met: int) -> float:
    return float(np.log((1 + products) / (1 + met)) + 1)


def _signs_of(name: str) -> np.ndarray:
    bits = np.unpackbits(np.frombuffer(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=_SIGNS // 8).digest(), dtype=np.uint8))
    return bits.astype(np.float32) * 2 - 1
