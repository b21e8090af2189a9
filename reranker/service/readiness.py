"""Checks whether the first stage answers, for readiness probes."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from reranker.errors import FirstStageError, RerankerError
from reranker.first_stage import FirstStage

log = logging.getLogger(__name__)

TIMEOUT_S = 3.0
_FRESH_S = 1.0


class State(NamedTuple):
    """``products``: how many can be found; None without a first stage. ``error``: why it does not answer."""

    products: int | None = None
    error: RerankerError | None = None


class Readiness:
    """Asks the first stage in a thread of its own: one question at a time. A good answer serves all probes of a second.

    Args:
        first_stage: None if the service has none.
    """

    def __init__(self, first_stage: FirstStage | None) -> None:
        self._first_stage = first_stage
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ready")
        self._asked = float("-inf")
        self._answer: asyncio.Future[int] | None = None

    async def check(self) -> State:
        """Return the state, within ``TIMEOUT_S`` seconds."""
        if self._first_stage is None:
            return State()
        if self._answer is None or (self._answer.done() and (self._answer.exception() is not None or time.monotonic() - self._asked > _FRESH_S)):
            self._asked = time.monotonic()
            self._answer = asyncio.get_running_loop().run_in_executor(self._thread, self._first_stage.count)
        done, _ = await asyncio.wait({self._answer}, timeout=TIMEOUT_S)
        if not done:
            return State(error=FirstStageError(f"The first stage does not answer within {TIMEOUT_S:g} s."))
        error = self._answer.exception()
        if error is None:
            return State(self._answer.result())
        log.warning("not ready: %s", error)
        return State(error=error if isinstance(error, RerankerError) else FirstStageError(f"The first stage fails: {type(error).__name__}."))

    def close(self) -> None:
        """Stop without waiting for an answer."""
        self._thread.shutdown(wait=False, cancel_futures=True)
