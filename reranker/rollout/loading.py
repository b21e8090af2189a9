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
from reranker.reranker import Reranker
from reranker.rollout.recent import Asked

ATTEMPTS = 5
WARM_UP_S = 5.0
"""Maximal time for warming up a new bundle with recent requests."""

_PROBE: Asked = ("warm up", ["the first run of a model is slower than the others", "warm"])


class LoadedBundle(NamedTuple):
    """A bundle in memory, identified by ``manifest_sha256``; ``since``: when it took its present role."""

    reranker: Reranker
    manifest_sha256: str
    since: datetime

    def from_now(self) -> LoadedBundle:
        return self._replace(since=datetime.now(UTC))


def load(path: str | Path | None, *, threads: int | None, cache: int = 0, vectors: Path | None = None, recent: Sequence[Asked] = ()) -> LoadedBundle:
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
    reranker.warm_up()
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
    """Load a bundle and make sure that its folder was not replaced meanwhile."""
    error: BundleError | None = None
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(0.1)
        folder = _resolved(path)
        before = _manifest_sha256(folder)
        error = None
        try:
            reranker = Reranker.load(folder, threads=threads, cache=cache)
            load_bundle(folder)  # again: the loaded files must be those that were verified
        except BundleError as caught:
            error = caught
        except OSError as caught:
            error = BundleError(f"The bundle {folder} cannot be read: {caught.strerror}.", hint="Check who may read its files.")
        if before is not None and _manifest_sha256(_resolved(path)) == before:
            if error is not None:
                raise error
            return reranker, before
    raise error or BundleError(f"The bundle {folder} kept changing while it was read.", hint="Try again when it is complete.")


def _resolved(path: str | Path | None) -> Path:
    folder = bundle_folder(path)
    return folder.resolve() if folder.exists() else folder


def _manifest_sha256(folder: Path) -> str | None:
    try:
        return sha256(folder / MANIFEST)
    except OSError:
        return None
