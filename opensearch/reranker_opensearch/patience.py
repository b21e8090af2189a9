"""Asking a cluster again while it is out of order: the restart of a node must not end an hour of indexing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from opensearchpy import exceptions as osx

from reranker.errors import FirstStageError

PATIENCE_S = 180.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0

Answer = TypeVar("Answer")


class NotYet(FirstStageError):
    """The cluster answered, but not as it will when all its nodes are back."""


def patiently(ask: Callable[[], Answer]) -> Answer:
    """Return what ``ask`` returns. What it raises is raised once the cluster has had the time to come back, or at once if waiting mends nothing.

    ``ask`` must do no harm when it is called again although its request was fulfilled and only the answer got lost.
    """
    until = time.monotonic() + PATIENCE_S
    pause = FIRST_PAUSE_S
    while True:
        try:
            return ask()
        except (osx.OpenSearchException, FirstStageError) as error:
            if not _passes(error) or time.monotonic() + pause > until:
                raise
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)


def _passes(error: Exception) -> bool:
    """Say whether this is what a cluster answers, or does not, while nodes come and go."""
    if isinstance(error, NotYet):
        return True
    cause = error.__cause__ if isinstance(error, FirstStageError) else error
    if isinstance(cause, osx.SSLError):
        return False
    if isinstance(cause, osx.ConnectionError):
        return True
    return isinstance(cause, osx.TransportError) and isinstance(cause.status_code, int) and (cause.status_code in (408, 429) or cause.status_code >= 500)
