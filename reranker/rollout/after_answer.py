"""Work that must not delay an answer: held back while a request is answered, done when the answer went out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_held: ContextVar[list[Callable[[], None]] | None] = ContextVar("held", default=None)


@contextmanager
def held_until_answered() -> Iterator[None]:
    """Hold back what ``after_answer`` is given in this context, and in copies of it that threads run in, until the block ends."""
    held: list[Callable[[], None]] = []
    token = _held.set(held)
    try:
        yield
    finally:
        _held.reset(token)
        for work in held:
            work()


def after_answer(work: Callable[[], None]) -> None:
    """Do ``work`` when the request's answer went out; at once where no request is being answered."""
    held = _held.get()
    if held is None:
        work()
    else:
        held.append(work)
