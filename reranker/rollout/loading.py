"""Loads a bundle for a running service: verifies it, warms it up, and checks that it scores."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reranker.bundle import bundle_folder, load_bundle
from reranker.cache import DEFAULT_CACHE_BYTES
from reranker.errors import BundleError
from reranker.reranker import Reranker
from reranker.verification import unusable, verify

WARM_UP_S = 5.0
"""Maximal time for warming up a new bundle with recent requests."""

Request = tuple[str, Sequence[str]]
"""A query with the texts of its products."""


class LoadedBundle(NamedTuple):
    """A bundle in memory, identified by ``manifest_sha256``; ``since``: when it took its present role."""

    reranker: Reranker
    manifest_sha256: str
    since: datetime

    def from_now(self) -> LoadedBundle:
        return self._replace(since=datetime.now(UTC))


def load(
    path: str | Path | None,
    *,
    threads: int | None,
    cache: int = 0,
    cache_bytes: int = DEFAULT_CACHE_BYTES,
    vectors: Path | None = None,
    recent: Sequence[Request] = (),
) -> LoadedBundle:
    """Load, verify and warm up a bundle; a link is resolved first.

    Args:
        path: a folder, a link to one, a shipped bundle's name, or None.
        threads: threads of one scoring; None takes all cores.
        cache: as in ``Reranker``. Each bundle has its own cache.
        cache_bytes: as in ``Reranker``.
        vectors: folder of stored product vectors, if there is one.
        recent: requests to warm up with, for at most ``WARM_UP_S`` seconds.

    Raises:
        BundleError: it is missing, incomplete, corrupt, of a later format, or gives no usable scores.
        InputError: the vectors cannot be read.
    """
    reranker = _load_whole(path, threads, cache, cache_bytes)
    verify(reranker)
    if vectors is not None:
        reranker.use_vectors(vectors)
    began = time.monotonic()
    for query, texts in recent:
        if not np.isfinite(reranker.score_texts(query, texts)).all():
            raise unusable(reranker.bundle)
        if time.monotonic() - began > WARM_UP_S:
            break
    return LoadedBundle(reranker, reranker.bundle.manifest_sha256, datetime.now(UTC))


def _load_whole(path: str | Path | None, threads: int | None, cache: int, cache_bytes: int) -> Reranker:
    """Load a bundle and make sure that its folder was not replaced meanwhile."""
    folder = bundle_folder(path)
    folder = folder.resolve() if folder.exists() else folder
    reranker = Reranker.load(folder, threads=threads, cache=cache, cache_bytes=cache_bytes)
    if load_bundle(folder).manifest_sha256 != reranker.bundle.manifest_sha256:  # the files that were loaded must be those that were verified
        raise BundleError(f"The bundle {folder} changed while it was read.", hint="Try again when it is complete.")
    return reranker
