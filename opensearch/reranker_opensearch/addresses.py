"""Parses the addresses of a cluster's nodes."""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from reranker.errors import InputError


class Node(NamedTuple):
    """A node's address and credentials."""

    url: str  # without a password, for messages
    secure: bool
    host: dict[str, Any]  # as opensearch-py takes it


def nodes(urls: str) -> list[Node]:
    """Parse one or several URLs, separated by commas. Messages never show them: they may contain a password.

    Raises:
        InputError: one of them is not an http or https URL.
    """
    return [_node(url) for url in re.split(r",(?=\s*https?://)", urls)]  # a password may contain a comma


def _node(url: str) -> Node:
    hint = "Give http(s)://host:9200, or several separated by commas. Set user and password as OPENSEARCH_USER and OPENSEARCH_PASSWORD."
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        raise InputError("The address of OpenSearch is not a URL.", hint=hint) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise InputError("The address of OpenSearch is not an http or https URL.", hint=hint)
    secure = parts.scheme == "https"
    port = port or (443 if secure else 9200)
    prefix = parts.path.rstrip("/")
    user = unquote(parts.username) if parts.username else os.environ.get("OPENSEARCH_USER")
    password = unquote(parts.password or "") if parts.username else os.environ.get("OPENSEARCH_PASSWORD", "")
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    host = {"host": parts.hostname, "port": port, "use_ssl": secure, "url_prefix": prefix, "http_auth": (user, password) if user else None}
    return Node(f"{parts.scheme}://{name}:{port}{prefix}", secure, host)
