"""Repeats requests while a cluster recovers, so that a node's restart does not end an hour of indexing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import tenacity
from opensearchpy import exceptions as osx

from reranker.errors import FirstStageError

MAX_WAIT_S = 180.0
POLL_S = 0.1

Answer = TypeVar("Answer")


class NotYet(FirstStageError):
    """The cluster answered, but some of its nodes are missing."""


def retried(request: Callable[[], Answer]) -> Answer:
    """Return what ``request`` returns, repeating it for up to ``MAX_WAIT_S`` seconds while it fails as clusters do when nodes restart.

    The last exception is raised; one that waiting cannot help is raised at once. ``request`` must be safe to repeat: an earlier
    one may have been carried out although its answer was lost.
    """
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_is_temporary),
        stop=tenacity.stop_before_delay(MAX_WAIT_S),
        wait=tenacity.wait_exponential(multiplier=0.5, max=10.0),
        reraise=True,
    )
    return retrying(request)


def poll(ask: Callable[[], Answer], *, done: Callable[[Answer], bool], seconds: float) -> Answer:
    """Call ``ask`` every ``POLL_S`` until ``done`` accepts its answer or the time is up; return the last answer."""
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda answer: not done(answer)),
        stop=tenacity.stop_after_delay(seconds),
        wait=tenacity.wait_fixed(POLL_S),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )
    return retrying(ask)


def _is_temporary(error: BaseException) -> bool:
    """Say whether a cluster fails in this way while nodes come and go."""
    if isinstance(error, NotYet):
        return True
    cause = error.__cause__ if isinstance(error, FirstStageError) else error
    if isinstance(cause, osx.SSLError):
        return False
    if isinstance(cause, osx.ConnectionError):
        return True
    return isinstance(cause, osx.TransportError) and isinstance(cause.status_code, int) and (cause.status_code in (408, 429) or cause.status_code >= 500)
