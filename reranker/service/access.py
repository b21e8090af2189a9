"""Access control: hosts that clients may ask for, and API keys. Liveness, readiness and metrics need no key."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from ipaddress import IPv6Address, ip_address

from fastapi import HTTPException, Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from reranker.service.api_keys import ApiKeys
from reranker.service.bodies import drain
from reranker.service.metrics import Metrics
from reranker.service.problems import answer_to, problem

_HOST = re.compile(r"(?:\[(?P<address>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[^\s:/@\[\]]{1,253}))(?::\d{0,5})?")
_PROXY_HEADERS = ("origin", "forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
KNOWN = "reranker.known"
"""Key of a scope: whether the request came with a known API key."""


class AllowedHosts:
    """ASGI middleware: answers 421 to requests for other host names, so that no web page can read the service through a name of its own.

    IP addresses and ``localhost`` are always allowed: no name server can give them to a web page.

    Args:
        names: further host names; ``*`` allows all.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self.app = app
        self.names = {"localhost", *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and "*" not in self.names:
            hosts = Headers(scope=scope).getlist("host")
            needed = scope["http_version"] == "1.1"  # clients of earlier versions, such as health checks of proxies, name none
            if len(hosts) > 1 or (needed and not hosts) or not all(self._allowed(host) for host in hosts):
                refusal = HTTPException(421, "The service does not answer for the host that the request names.")
                await answer_to(refusal)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _allowed(self, host: str) -> bool:
        name = host_name(host)
        return name is not None and (name in self.names or is_address(name))


def host_name(host: str) -> str | None:
    """Return the name or address in a Host header, without port and brackets, in lower case; None if it holds none."""
    found = _HOST.fullmatch(host)
    return None if found is None else (found["address"] or found["name"]).lower().removesuffix(".")


def is_address(host: str) -> bool:
    """Say whether a host is an IP address rather than a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


class RequireKey:
    """ASGI middleware: answers 401 if no known key comes with the request, except for ``open_paths``."""

    def __init__(self, app: ASGIApp, keys: ApiKeys, metrics: Metrics, max_body_bytes: int, open_paths: Collection[str]) -> None:
        self.app = app
        self.keys = keys
        self.metrics = metrics
        self.max_body_bytes = max_body_bytes
        self.open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        known = self.keys.admit(Headers(scope=scope))
        if known or scope["path"] in self.open_paths:
            scope[KNOWN] = known
            await self.app(scope, receive, send)
            return
        self.metrics.refused.labels("no key").inc()
        refusal = problem(
            401,
            "The API key is missing or unknown.",
            "Send Authorization: Bearer KEY, or X-API-Key: KEY.",
            {"WWW-Authenticate": 'Bearer realm="reranker"'},
        )
        await drain(scope, receive, self.max_body_bytes)
        await refusal(scope, receive, send)


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
    host = host_name(request.headers.get("host", "")) or ""
    near = request.client is not None and is_loopback(request.client.host) and (host == "localhost" or is_loopback(host))
    if not near or any(name in request.headers for name in _PROXY_HEADERS):
        raise HTTPException(
            403, "Without an API key, bundles can be seen and changed from the service's own machine only, at http://localhost or http://127.0.0.1."
        )
