"""Hands requests to the shadow bundle after their answers were sent."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from reranker.rollout.after_answer import held_until_answered


class AfterAnswer:
    """ASGI middleware: runs what ``held_until_answered`` collects once the app has sent its answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        with held_until_answered():
            await self.app(scope, receive, send)
