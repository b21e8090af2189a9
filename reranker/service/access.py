"""Who may ask what: everything but liveness, readiness and metrics needs a key where keys are set."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv6Address, ip_address

from fastapi import HTTPException, Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from reranker.service.api_keys import ApiKeys
from reranker.service.metrics import Metrics
from reranker.service.problems import problem

_OF_OTHERS = ("origin", "forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
OPEN = frozenset({"/health", "/ready", "/metrics"})


class RequireKey:
    """ASGI middleware: answers 401 without a key, and keeps nothing of the body."""

    def __init__(self, app: ASGIApp, keys: ApiKeys, metrics: Metrics, max_body_bytes: int) -> None:
        self.app = app
        self.keys = keys
        self.metrics = metrics
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN or self.keys.admit(Headers(scope=scope)):
            await self.app(scope, receive, send)
            return
        self.metrics.refused.labels("no key").inc()
        refusal = problem(
            401,
            "This service needs an API key, and the request brings none that it knows.",
            "Send Authorization: Bearer KEY, or X-API-Key: KEY.",
            {"WWW-Authenticate": 'Bearer realm="reranker"'},
        )
        if "expect" not in Headers(scope=scope):
            await self._drain(receive)
        await refusal(scope, receive, send)

    async def _drain(self, receive: Receive) -> None:
        """Read the body for nobody: a client that is still sending when the connection closes sees a broken pipe instead of the answer."""
        arrived, more = 0, True
        with suppress(HTTPException):  # its time is up
            while more and arrived <= self.max_body_bytes:
                message = await receive()
                arrived += len(message.get("body", b""))
                more = message.get("more_body", False)


def is_loopback(host: str) -> bool:
    """Say whether an address is this machine's own, reached by nobody else. A name is not."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def only_from_this_machine(request: Request) -> None:
    """Let in clients of this machine alone; for where no keys are set.

    No web page that a browser here shows, and nothing that a proxy passes on: whom it speaks for is only its word. A proxy that
    says nothing of itself is still told by the name its clients asked for, unless it rewrites that too.

    Raises:
        HTTPException: 403.
    """
    asked = request.url.hostname or ""
    near = request.client is not None and is_loopback(request.client.host) and (asked == "localhost" or is_loopback(asked))
    if not near or any(name in request.headers for name in _OF_OTHERS):
        raise HTTPException(
            403, "Without an API key, bundles can be seen and changed from the service's own machine only, at http://localhost or http://127.0.0.1."
        )
