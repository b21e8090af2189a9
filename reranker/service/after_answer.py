"""Lets the shadow have a request only when its answer went out."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from reranker.rollout.after_answer import held_until_answered


class AfterAnswer:
    """ASGI middleware: what is held back for after the answer is done when the app has sent it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        with held_until_answered():
            await self.app(scope, receive, send)
