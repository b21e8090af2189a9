"""Errors that a user can correct: what went wrong, where, and what to do.

The command line prints them without a traceback and exits with ``exit_code``;
the HTTP service responds with ``http_status``.
"""

from __future__ import annotations

import json
import re
from importlib.metadata import PackageNotFoundError, distribution
from math import ceil

DISTRIBUTION = "distilled-reranker"

MAX_MESSAGE_CHARACTERS = 2_000
"""Longer messages are cut in the middle: what a user gave may be of any length, and the reason often comes last."""

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal may obey instead of show: control characters but for tab and line feed, and changes of direction; and what cannot be encoded."""


def printable(text: str) -> str:
    """Return the text with control characters as backslash escapes, so that no data can steer the terminal."""
    return CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def shortened(text: str, limit: int) -> str:
    """Return the text, cut in the middle if it has more than ``limit`` characters."""
    if len(text) <= limit:
        return text
    end = limit // 4
    return f"{text[: limit - end]} … ({len(text) - limit:,} characters left out) … {text[-end:]}"


class RerankerError(Exception):
    """Base of all errors meant for the user.

    Args:
        message: what went wrong, and where. Control characters in it are escaped, and it is cut to ``MAX_MESSAGE_CHARACTERS``.
        hint: what to do about it, as one sentence.
    """

    exit_code = 1
    http_status = 500
    retry_after_s: int | None = None
    """Seconds after which the same request may succeed; sent as ``Retry-After``."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = printable(shortened(message, MAX_MESSAGE_CHARACTERS))
        self.hint = None if hint is None else printable(shortened(hint, MAX_MESSAGE_CHARACTERS))
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class InputError(RerankerError):
    """A query, option or file given by the user cannot be used as it is."""

    exit_code = 2
    http_status = 422


class CatalogError(InputError):
    """A catalogue file cannot be read, or holds products that cannot be indexed."""


class JudgmentError(InputError):
    """A judgment file cannot be read, or does not fit the catalogue."""


class StorageError(InputError):
    """Files cannot be written where they belong: the disk is full, or the folder is not writable."""

    http_status = 503


class RecipeError(InputError):
    """A distillation recipe is invalid, or needs something that is not available."""


class BundleError(RerankerError):
    """A bundle is incomplete, corrupt, or of a format that this release cannot read."""

    exit_code = 3
    http_status = 503


class FirstStageError(RerankerError):
    """The first stage (embedded index or OpenSearch) cannot be reached or rejects the request."""

    exit_code = 4
    http_status = 503


class OverloadError(RerankerError):
    """The service cannot answer a request in time. ``reason`` labels it in the metrics.

    Args:
        after_s: seconds until the work queued now is done.
    """

    http_status = 503
    reason = "overload"

    def __init__(self, message: str, *, hint: str | None = None, after_s: float = 0.0) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = max(1, ceil(after_s))


class BusyError(OverloadError):
    """The service's queue is full; the request was rejected at once."""

    reason = "busy"


class NoTimeError(OverloadError):
    """The request would miss its deadline because of the work queued before it; it was not started."""

    reason = "no time"


class LateError(OverloadError):
    """The request missed its deadline."""

    reason = "late"


class RolloutError(RerankerError):
    """The service's bundles cannot be changed as requested: no previous bundle, no shadow, or another change in progress."""

    exit_code = 3
    http_status = 409


class RejectedBundleError(BundleError):
    """A new bundle cannot be used; the present one still serves."""

    http_status = 422


class ServiceError(RerankerError):
    """A running service cannot be reached, or rejects the request."""

    exit_code = 4


class MissingExtraError(RerankerError):
    """A command needs libraries of an extra that is not installed."""

    exit_code = 2
    http_status = 503

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs libraries that are not installed.", hint=f"Install them: {install_command(extra)}")


def install_command(extra: str) -> str:
    """Return the command that adds an extra to this installation, from where it was installed: a package index, a wheel or a checkout."""
    try:
        origin = json.loads(distribution(DISTRIBUTION).read_text("direct_url.json") or "{}")  # PEP 610; missing if it came from an index
    except PackageNotFoundError:
        origin = {}
    url = origin.get("url")
    if url is None:
        return f'pip install "{DISTRIBUTION}[{extra}]"'
    vcs = origin.get("vcs_info")
    source = f"{vcs['vcs']}+{url}@{vcs['commit_id']}" if vcs else url
    return f'pip install "{DISTRIBUTION}[{extra}] @ {source}"'
