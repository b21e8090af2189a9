"""The bundles of a service: the one that serves, the previous one, and the shadow; and every change of them."""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from reranker.bundle import MODEL
from reranker.cache import DEFAULT_CACHE_BYTES
from reranker.errors import BundleError, InputError, RejectedBundleError, RerankerError, RolloutError
from reranker.memory import return_free_memory
from reranker.products import Product
from reranker.reranker import Reranker
from reranker.rollout.after_answer import after_answer
from reranker.rollout.loading import LoadedBundle, Request, load
from reranker.rollout.shadow import Sample, Shadow
from reranker.scorer import Scorer
from reranker.text import ProductTemplate

log = logging.getLogger(__name__)

RECENT_REQUESTS = 20
RECENT_PRODUCTS = 100
RECENT_BYTES = 256 * 1024
"""The latest requests of at most this many products, and bytes of their texts, warm up a new bundle."""

_SERVING, _PREVIOUS, _SHADOW = 1 / 2, 1 / 4, 1 / 4
"""Shares of the caches' bytes by role."""


class Rollout(Scorer):
    """Holds a service's bundles in memory: serving, previous and shadow. As a scorer it is the bundle that serves now.

    Changes run in the calling thread, one at a time; requests never wait for one. Each returns a sentence that says what
    happened.

    Args:
        bundle: the bundle that serves, as in ``load_bundle``. A reload without a path reads it again.
        threads: threads of one scoring; None takes all cores.
        cache: number of queries whose results each bundle caches, as in ``Reranker``.
        cache_bytes: limit of the caches of all bundles together: half for the one that serves, a quarter each for the previous one and the shadow.
        bundles: the folder whose bundles clients may name; None allows none.
        vectors: folder of stored product vectors. A bundle without vectors in it computes them when first needed.

    Raises:
        BundleError: ``bundle`` cannot be loaded.
        InputError: the vectors cannot be read.
    """

    def __init__(
        self,
        bundle: str | Path | None = None,
        *,
        threads: int | None = None,
        cache: int = 0,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        bundles: Path | None = None,
        vectors: Path | None = None,
    ) -> None:
        self._bundle = bundle
        self._threads = threads
        self._cache = cache
        self._cache_bytes = cache_bytes
        self._bundles = bundles
        self._recent: deque[Request] = deque(maxlen=RECENT_REQUESTS)
        self._changing = threading.Lock()
        self._vectors = vectors
        self._serving = self._loaded(bundle, _SERVING)
        self._previous: LoadedBundle | None = None
        self._shadow: Shadow | None = None
        self._last_change: dict[str, str] | None = None
        self._last_error: dict[str, str | None] | None = None
        self.changes: Counter[tuple[str, str]] = Counter()
        """Requested changes by action (reload, rollback, shadow, promote) and outcome (done, unchanged, refused)."""
        self._record_scorings(self._serving.reranker)

    # --- scoring ----------------------------------------------------------------------------------------------------

    def pin(self) -> Reranker:
        """Return the student that serves now, for one request. It stays the same while another bundle is rolled out."""
        return self._serving.reranker

    @property
    def model(self) -> str:
        return self.pin().model

    def score(self, query: str, products: Sequence[Product | str]) -> np.ndarray:
        """As ``Reranker.score``."""
        return self.pin().score(query, products)

    def _record_scorings(self, reranker: Reranker) -> None:
        reranker.on_scored = partial(self._record, reranker.model, reranker.template)

    def _record(self, model: str, template: ProductTemplate, query: str, products: Sequence[Product | str], texts: Sequence[str], scores: np.ndarray) -> None:
        """Keep texts only: a product may be large, and would outlive its request."""
        if len(texts) <= RECENT_PRODUCTS and sum(text.__sizeof__() for text in texts) <= RECENT_BYTES:
            self._recent.append((query, texts))
        shadow = self._shadow
        if shadow is not None:
            of_shadow = shadow.loaded.reranker.template
            sample = Sample(query, texts if of_shadow == template else [of_shadow.render(product) for product in products], scores, model)
            after_answer(partial(shadow.offer, sample))

    # --- changes ----------------------------------------------------------------------------------------------------

    def reload(self, path: str | None = None, *, trigger: str = "request", wait: bool = False) -> str:
        """Load, verify and warm up a bundle, then serve it.

        Args:
            path: a bundle in the ``bundles`` folder; None reads ``bundle`` again.
            trigger: what caused it, for ``status``.
            wait: wait for a change in progress instead of raising an error.

        Raises:
            InputError: clients may not name this path.
            RejectedBundleError: the bundle cannot be used; the present one stays.
            RolloutError: another change is in progress.
        """
        with self._change("reload", trigger, wait) as done:
            loaded = self._load(self._bundle if path is None else self._among_bundles(path), _SERVING)
            if loaded.manifest_sha256 == self._serving.manifest_sha256:
                if self._vectors is None:
                    return done(f"{self._serving.reranker.model} serves already: nothing was changed.", "unchanged")
                count = self._serving.reranker.use_vectors(self._vectors)
                return done(f"{self._serving.reranker.model} serves already; {count:,} stored product vectors are loaded.", "unchanged")
            return done(self._serve(loaded))

    def rollback(self) -> str:
        """Serve the previous bundle again, at once; it was kept in memory.

        Raises:
            RolloutError: there is none, or another change is in progress.
        """
        with self._change("rollback") as done:
            if self._previous is None:
                raise RolloutError("There is no bundle to go back to.", hint="There is one after the first rollout.")
            return done(self._serve(self._previous))

    def start_shadow(self, path: str | Path, *, trusted: bool = False) -> str:
        """Load a bundle as the shadow: it scores the same traffic, but its scores are not served. An existing shadow is replaced.

        Args:
            path: a bundle in the ``bundles`` folder; any path if ``trusted``, for the service's own options.

        Raises:
            InputError, RejectedBundleError, RolloutError: as ``reload``.
        """
        with self._change("shadow") as done:
            loaded = self._load(path if trusted else self._among_bundles(str(path)), _SHADOW)
            if self._shadow is not None:
                self._shadow.stop()
            self._shadow = Shadow(loaded, against=self._serving.reranker.model)
            return done(f"{loaded.reranker.model} is in the shadow of {self._serving.reranker.model}.")

    def stop_shadow(self) -> str:
        """Drop the shadow.

        Raises:
            RolloutError: there is none, or another change is in progress.
        """
        with self._change("shadow") as done:
            model = self._take_shadow().reranker.model
            return done(f"{model} is no longer in the shadow.")

    def promote(self) -> str:
        """Serve the shadow.

        Raises:
            RolloutError: there is none, or another change is in progress.
        """
        with self._change("promote") as done:
            return done(self._serve(self._take_shadow()))

    def _take_shadow(self) -> LoadedBundle:
        if self._shadow is None:
            raise RolloutError("There is no bundle in the shadow.", hint="Start one: reranker bundle shadow DIR")
        shadow, self._shadow = self._shadow, None
        shadow.stop()
        return shadow.loaded

    def _serve(self, loaded: LoadedBundle) -> str:
        self._record_scorings(loaded.reranker)
        self._previous, self._serving = self._serving.from_now(), loaded.from_now()
        self._previous.reranker.clear_query_cache()  # product vectors stay, so that a rollback is immediate
        self._previous.reranker.limit_caches(int(self._cache_bytes * _PREVIOUS))
        loaded.reranker.limit_caches(int(self._cache_bytes * _SERVING))
        if self._shadow is not None:
            self._shadow.compare_with(loaded.reranker.model)
        return f"{loaded.reranker.model} serves now; {self._previous.reranker.model} is kept for a rollback."

    def _loaded(self, path: str | Path | None, share: float) -> LoadedBundle:
        cache_bytes, recent = int(self._cache_bytes * share), list(self._recent)[::-1]
        return load(path, threads=self._threads, cache=self._cache, cache_bytes=cache_bytes, vectors=self._vectors, recent=recent)

    def _load(self, path: str | Path | None, share: float) -> LoadedBundle:
        try:
            return self._loaded(path, share)
        except RerankerError as error:
            message, hint = error.message, error.hint
        except Exception as error:  # the present bundle must go on serving whatever the new one contains
            log.exception("the bundle %s cannot be loaded", path)
            message, hint = f"The bundle {path} cannot be loaded: {type(error).__name__}.", "The service's log has the details."
        raise RejectedBundleError(f"{message} {self._serving.reranker.model} goes on serving.", hint=hint)

    def _among_bundles(self, path: str) -> Path:
        """Return the folder that a client named. Any path outside gets the same error, whether it exists or not."""
        if self._bundles is None:
            raise InputError("This service takes no path of a bundle.", hint="Start it with --bundles DIR to let clients choose among the bundles in DIR.")
        try:
            root = self._bundles.resolve()
            folder = (root / path).resolve()
            if folder != root and folder.is_relative_to(root):
                folder.exists()  # raises if the system cannot look it up
                return folder
        except (OSError, ValueError, RuntimeError):  # a name too long, a zero byte, links in a circle
            pass
        raise InputError("The path is not of a bundle among the service's --bundles.", hint="Give a bundle's folder name there.")

    @contextmanager
    def _change(self, action: str, trigger: str = "request", wait: bool = False) -> Iterator[Callable[..., str]]:
        """Run one change at a time. Yields a function that records the change's message and returns it."""

        def done(message: str, outcome: str = "done") -> str:
            self.changes[action, outcome] += 1
            if outcome == "done":
                log.warning("%s (%s): %s", action, trigger, message)
                self._last_change = {"action": action, "trigger": trigger, "at": _now(), "message": message}
            if action == "reload":
                self._last_error = None
            return message

        if not self._changing.acquire(blocking=wait):
            raise RolloutError("Another change of the bundles is in progress.", hint="Try again when it is done.")
        try:
            yield done
        except RerankerError as error:
            self.changes[action, "refused"] += 1
            if isinstance(error, BundleError):
                log.error("%s (%s) failed: %s", action, trigger, error)
                self._last_error = {"action": action, "trigger": trigger, "at": _now(), "message": error.message, "hint": error.hint}
            raise
        finally:
            return_free_memory()  # else each change keeps tens of MB that the C library does not return
            self._changing.release()

    # --- status -----------------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return the response of ``GET /bundles``."""
        shadow = self._shadow
        return {
            "serving": _described(self._serving),
            "previous": self._previous and _described(self._previous),
            "shadow": shadow and {**_described(shadow.loaded), **shadow.stats()},
            "last_change": self._last_change,
            "last_error": self._last_error,
        }

    def close(self) -> None:
        """Stop the shadow."""
        if self._shadow is not None:
            self._shadow.stop()


def _described(loaded: LoadedBundle) -> dict[str, Any]:
    bundle = loaded.reranker.bundle
    return {
        "model": loaded.reranker.model,
        "name": bundle.manifest.name,
        "version": bundle.version,
        "created": bundle.manifest.created,
        "sha256": bundle.manifest.files[MODEL].sha256,
        "manifest_sha256": loaded.manifest_sha256,
        "path": str(bundle.path),
        "since": loaded.since.isoformat(timespec="seconds"),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
