"""Work that is postponed until a request's response has been sent, such as scoring with a shadow bundle."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

from starlette.types import ASGIApp, Receive, Scope, Send

_postponed: ContextVar[list[Callable[[], None]] | None] = ContextVar("postponed", default=None)


class AfterAnswer:
    """ASGI middleware: runs the work given to ``after_answer`` in a request's context, and in copies of it in threads, once the app has answered."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        postponed: list[Callable[[], None]] = []
        token = _postponed.set(postponed)
        try:
            await self.app(scope, receive, send)
        finally:
            _postponed.reset(token)
            for work in postponed:
                work()


def after_answer(work: Callable[[], None]) -> None:
    """Do ``work`` after the response was sent, or at once outside a request."""
    postponed = _postponed.get()
    if postponed is None:
        work()
    else:
        postponed.append(work)
