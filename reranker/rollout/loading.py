"""Loads a bundle for a running service: verifies it, warms it up, and checks that it scores."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reranker.bundle import MANIFEST, bundle_folder, load_bundle, sha256
from reranker.errors import BundleError, InputError
from reranker.products import Product
from reranker.reranker import Reranker

WARM_UP_S = 5.0
"""Maximal time for warming up a new bundle with recent requests."""

Request = tuple[str, Sequence[Product | str]]
"""A query with its products."""

_PROBE: Request = ("warm up", ["the first run of a model is slower than the others", "warm"])


class LoadedBundle(NamedTuple):
    """A bundle in memory, identified by ``manifest_sha256``; ``since``: when it took its present role."""

    reranker: Reranker
    manifest_sha256: str
    since: datetime

    def from_now(self) -> LoadedBundle:
        return self._replace(since=datetime.now(UTC))


def load(path: str | Path | None, *, threads: int | None, cache: int = 0, vectors: Path | None = None, recent: Sequence[Request] = ()) -> LoadedBundle:
    """Load, verify and warm up a bundle; a link is resolved first.

    Args:
        path: a folder, a link to one, a shipped bundle's name, or None.
        threads: threads of one scoring; None takes all cores.
        cache: as in ``Reranker``. Each bundle has its own cache.
        vectors: folder of stored product vectors, if there is one.
        recent: requests to warm up with, for at most ``WARM_UP_S`` seconds.

    Raises:
        BundleError: it is missing, incomplete, corrupt, of a later format, or gives no usable scores.
        InputError: the vectors cannot be read.
    """
    reranker, digest = _load_whole(path, threads, cache)
    if vectors is not None:
        reranker.use_vectors(vectors)
    began = time.monotonic()
    for query, products in (_PROBE, *recent):
        try:
            scores = reranker.score(query, products)
        except InputError:  # the client's mistake, not the bundle's
            continue
        if scores.shape != (len(products),) or not np.isfinite(scores).all():
            raise BundleError(f"The bundle {reranker.bundle.path} gives unusable scores.", hint="Check it: reranker bundle verify DIR")
        if time.monotonic() - began > WARM_UP_S:
            break
    return LoadedBundle(reranker, digest, datetime.now(UTC))


def _load_whole(path: str | Path | None, threads: int | None, cache: int) -> tuple[Reranker, str]:
    """Load a bundle and make sure that its folder was not replaced meanwhile. Returns it with the sha256 of its manifest."""
    folder = bundle_folder(path)
    folder = folder.resolve() if folder.exists() else folder
    try:
        reranker = Reranker.load(folder, threads=threads, cache=cache)
        digest = sha256(folder / MANIFEST)
        again = load_bundle(folder)  # the files that were loaded must be those that were verified
    except OSError as error:
        raise BundleError(f"The bundle {folder} cannot be read: {error.strerror}.", hint="Check who may read its files.") from error
    if again.manifest.model_dump_json() != reranker.bundle.manifest.model_dump_json() or sha256(folder / MANIFEST) != digest:
        raise BundleError(f"The bundle {folder} changed while it was read.", hint="Try again when it is complete.")
    return reranker, digest
