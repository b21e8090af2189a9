"""A client for one cluster, with error messages for the user. Passwords never appear in a message."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from opensearchpy import OpenSearch
from opensearchpy import exceptions as osx

from reranker.errors import FirstStageError, InputError

SEARCH_TIMEOUT_S = 10.0
INDEX_TIMEOUT_S = 120.0

# The client logs each failed request with a traceback; without a handler Python would print them to the terminal.
logging.getLogger("opensearch").addHandler(logging.NullHandler())


class _Node(NamedTuple):
    """A node's address and credentials."""

    url: str  # without a password, for messages
    secure: bool
    host: dict[str, Any]  # as opensearch-py takes it


class Cluster:
    """A cluster, given by the URL of one or several of its nodes. If one node does not answer, the next is tried.

    User and password come from the URL (``https://user:password@host:9200``) or from OPENSEARCH_USER and
    OPENSEARCH_PASSWORD; OPENSEARCH_CA_CERTS names a file of certificates to trust, OPENSEARCH_INSECURE=1 trusts any.

    Args:
        url: ``http(s)://[user:password@]host[:port][/prefix]``; several separated by commas.
        timeout: time-out of one request, in seconds.

    Raises:
        InputError: the URL cannot be used.
        FirstStageError: no OpenSearch answers there, or it refuses access.
    """

    def __init__(self, url: str, *, timeout: float = SEARCH_TIMEOUT_S) -> None:
        found = _nodes(url)
        self.timeout = timeout
        self.url = ",".join(node.url for node in found)
        tls = _tls() if any(node.secure for node in found) else {}
        self.client = OpenSearch(
            hosts=[{**node.host, **(tls if node.secure else {})} for node in found],
            timeout=timeout,
            max_retries=len(found) - 1,  # each node once, since a shopper waits; indexing has retries of its own
            retry_on_timeout=len(found) > 1,  # a node that hangs is skipped for a while, too
            retry_on_status=(),
            pool_maxsize=16,
        )
        self._check()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the client's exceptions into ``FirstStageError``."""
        try:
            yield
        except osx.OpenSearchException as error:
            raise self._explained(error) from error

    def close(self) -> None:
        self.client.close()

    def _check(self) -> None:
        try:
            info = self.client.info()
        except osx.AuthorizationException:
            return  # this user may not read the version, but may be allowed to search
        except (osx.SerializationError, osx.NotFoundError, osx.RequestError, AttributeError) as error:  # AttributeError: the answer is a list
            raise self._not_opensearch() from error
        except osx.OpenSearchException as error:
            raise self._explained(error) from error
        version = info.get("version") if isinstance(info, dict) else None
        if not isinstance(version, dict) or version.get("distribution") != "opensearch":
            raise self._not_opensearch()

    def _not_opensearch(self) -> FirstStageError:
        return FirstStageError(f"What answers at {self.url} is not OpenSearch.", hint="Give the address of its REST interface, usually port 9200.")

    def _explained(self, error: osx.OpenSearchException) -> FirstStageError:
        """Return an error that says what went wrong, where, and what to do."""
        at = f"OpenSearch at {self.url}"
        if isinstance(error, osx.SSLError):
            return FirstStageError(
                f"No secure connection to {at}: {reason_of(error)}",
                hint="Set OPENSEARCH_CA_CERTS to its certificate authority, or trust any with OPENSEARCH_INSECURE=1. A server without TLS needs http://.",
            )
        if isinstance(error, osx.ConnectionTimeout):
            return FirstStageError(f"{at} did not answer within {self.timeout:g} s.", hint="Is it overloaded, or is the address wrong?")
        if isinstance(error, osx.ConnectionError):
            return FirstStageError(
                f"{at} cannot be reached: {reason_of(error)}", hint="Is it running, and is the address right? A server with TLS needs https://."
            )
        if isinstance(error, osx.AuthenticationException):
            return FirstStageError(f"{at} did not accept the user and password.", hint="Set OPENSEARCH_USER and OPENSEARCH_PASSWORD.")
        if isinstance(error, osx.AuthorizationException):
            return FirstStageError(f"{at} refuses this user's request: {reason_of(error)}", hint="Give the user the rights, or use another user.")
        if isinstance(error, osx.SerializationError):
            return self._not_opensearch()
        if isinstance(error, osx.TransportError):
            return FirstStageError(f"{at} answered with status {error.status_code}: {reason_of(error)}", hint="Its log says more.")
        return FirstStageError(f"{at} failed: {type(error).__name__}")


def _nodes(urls: str) -> list[_Node]:
    """Parse one or several URLs, separated by commas. Messages never show them: they may contain a password.

    Raises:
        InputError: one of them is not an http or https URL.
    """
    return [_node(url) for url in re.split(r",(?=\s*https?://)", urls)]  # a password may contain a comma


def _node(url: str) -> _Node:
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
    return _Node(f"{parts.scheme}://{name}:{port}{prefix}", secure, host)


def _tls() -> dict[str, Any]:
    """Return the client's options for https."""
    insecure = os.environ.get("OPENSEARCH_INSECURE", "").lower() in ("1", "true", "yes")
    # None checks the certificate against the URL's host name; True would be read as a name
    tls: dict[str, Any] = {"verify_certs": not insecure, "ssl_assert_hostname": False if insecure else None, "ssl_show_warn": False}
    if authorities := os.environ.get("OPENSEARCH_CA_CERTS"):
        if not os.path.isfile(authorities):
            raise InputError(f"OPENSEARCH_CA_CERTS names {authorities}, which is not a file.", hint="Give a PEM file of certificates.")
        tls["ca_certs"] = authorities
    return tls


def reason_of(error: osx.TransportError) -> str:
    """Return the shortest text that gives the reason."""
    info = error.info
    if isinstance(info, dict):
        cause = info.get("error")
        if isinstance(cause, dict):
            roots = cause.get("root_cause") or [cause]
            return str(roots[0].get("reason") or roots[0].get("type"))
        return str(cause or info)[:300]
    reason = getattr(info, "reason", None) or info
    text = str(reason).strip() or str(error.error)
    return re.sub(r"^(<[^>]*>|\w+\(.*?\)): ", "", text)[:300]  # the reprs of the client's own objects do not help a reader
