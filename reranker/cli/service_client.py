"""Sends requests to a running service, and turns its errors into those of the command line."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from reranker.errors import InputError, ServiceError

TIMEOUT_S = 300
_KEY_HINT = "Give the service's key with --api-key-file FILE or in RERANKER_API_KEY."


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Refuses redirects, which could send the key to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


def ask(service: str, method: str, path: str, body: dict[str, Any] | None = None, *, api_key_file: Path | None = None) -> dict[str, Any]:
    """Send a request with the key of ``api_key_file`` or of the environment, and return the JSON answer.

    Raises:
        InputError: ``service`` is not a URL, or the key cannot be used.
        ServiceError: there is no answer, the key is wrong, or the service refuses, with its message and hint.
    """
    from reranker.service.api_keys import read_keys

    url = urlsplit(service)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise InputError(f"{service} is not a service's address.", hint="Give --service http://HOST:PORT.")
    keys = read_keys(api_key_file, os.environ)
    headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {keys[0]}"} if keys else {})
    if body is not None:
        headers["Content-Type"] = "application/json"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{service.rstrip('/')}{path}", data, headers, method=method)
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=TIMEOUT_S) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(service, error, has_key=bool(keys)) from None
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ServiceError(f"No service answers at {service}: {reason}.", hint="Is `reranker serve` running there?") from None
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ServiceError(f"The server at {service} is not this project's service.", hint="Check --service.")
    return answer


def _refusal(service: str, error: urllib.error.HTTPError, *, has_key: bool) -> ServiceError:
    if error.code == 401:
        return ServiceError(f"The service at {service} does not accept this key." if has_key else f"The service at {service} needs a key.", hint=_KEY_HINT)
    try:
        problem = json.load(error)["error"]
        return ServiceError(str(problem["message"]), hint=problem["hint"])
    except (ValueError, KeyError, TypeError, OSError, HTTPException):
        return ServiceError(f"The service at {service} answered with HTTP status {error.code}.", hint="Check --service.")
