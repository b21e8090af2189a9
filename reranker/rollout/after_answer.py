"""Work that is postponed until a request's response has been sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_held: ContextVar[list[Callable[[], None]] | None] = ContextVar("held", default=None)


@contextmanager
def held_until_answered() -> Iterator[None]:
    """Postpone the work given to ``after_answer`` in this context, and in copies of it in threads, until the block ends."""
    held: list[Callable[[], None]] = []
    token = _held.set(held)
    try:
        yield
    finally:
        _held.reset(token)
        for work in held:
            work()


def after_answer(work: Callable[[], None]) -> None:
    """Do ``work`` after the response was sent, or at once outside a request."""
    held = _held.get()
    if held is None:
        work()
    else:
        held.append(work)
