"""Access control: with keys set, every endpoint but liveness, readiness and metrics needs one."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv6Address, ip_address

from fastapi import HTTPException, Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from reranker.service.api_keys import ApiKeys
from reranker.service.metrics import Metrics
from reranker.service.problems import problem

_PROXY_HEADERS = ("origin", "forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
OPEN = frozenset({"/health", "/ready", "/metrics"})


class RequireKey:
    """ASGI middleware: answers 401 if no known key comes with the request."""

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
            "The API key is missing or unknown.",
            "Send Authorization: Bearer KEY, or X-API-Key: KEY.",
            {"WWW-Authenticate": 'Bearer realm="reranker"'},
        )
        if "expect" not in Headers(scope=scope):
            await self._drain(receive)
        await refusal(scope, receive, send)

    async def _drain(self, receive: Receive) -> None:
        """Read the body and drop it. A client still sending when the connection closes would see a broken pipe, not the answer."""
        arrived, more = 0, True
        with suppress(HTTPException):  # the body did not arrive in time
            while more and arrived <= self.max_body_bytes:
                message = await receive()
                arrived += len(message.get("body", b""))
                more = message.get("more_body", False)


def is_loopback(host: str) -> bool:
    """Say whether a host is a loopback IP address; a host name is not."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def only_from_this_machine(request: Request) -> None:
    """Refuse clients of other machines, web pages and proxies; used if no keys are set.

    Web pages send ``Origin``, most proxies a header of their own. A proxy without one is noticed by the ``Host`` that its clients
    asked for, unless it rewrites that too.

    Raises:
        HTTPException: 403.
    """
    host = request.url.hostname or ""
    near = request.client is not None and is_loopback(request.client.host) and (host == "localhost" or is_loopback(host))
    if not near or any(name in request.headers for name in _PROXY_HEADERS):
        raise HTTPException(
            403, "Without an API key, bundles can be seen and changed from the service's own machine only, at http://localhost or http://127.0.0.1."
        )
