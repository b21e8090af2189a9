"""Errors that a user can mend, each with what went wrong, where, and what to do.

The command line prints them without a traceback and exits with ``exit_code``;
the HTTP service answers with ``http_status``.
"""

from __future__ import annotations

from math import ceil


class RerankerError(Exception):
    """Base of all errors meant for the user.

    Args:
        message: what went wrong, and where.
        hint: what to do about it, as one sentence.
    """

    exit_code = 1
    http_status = 500
    retry_after_s: int | None = None
    """Seconds after which the same request may succeed; the service sends it as ``Retry-After``."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

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


class RecipeError(InputError):
    """A distillation recipe is wrong, or asks for what cannot be had."""


class BundleError(RerankerError):
    """A bundle is incomplete, corrupt, or of a version that this release cannot read."""

    exit_code = 3
    http_status = 503


class FirstStageError(RerankerError):
    """The first stage (embedded index or OpenSearch) cannot be reached or refuses the request."""

    exit_code = 4
    http_status = 503


class BusyError(RerankerError):
    """The service has as much work waiting as it takes; the request was refused at once."""

    http_status = 503
    retry_after_s = 1


class NoTimeError(RerankerError):
    """The work would not be done in the request's time, by what is waiting before it; nothing was begun.

    Args:
        after_s: seconds in which what waits now is done.
    """

    http_status = 503

    def __init__(self, message: str, *, hint: str | None = None, after_s: float = 0.0) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = max(1, ceil(after_s))


class LateError(RerankerError):
    """The request's time was up before its work was done."""

    http_status = 503
    retry_after_s = 1


class RolloutError(RerankerError):
    """The service's bundles cannot be changed as asked: nothing to go back to, no shadow, another change under way."""

    exit_code = 3
    http_status = 409


class RejectedBundleError(BundleError):
    """A new bundle cannot be used, so the old one goes on serving."""

    http_status = 422


class ServiceError(RerankerError):
    """A running service cannot be reached, or refuses what was asked of it."""

    exit_code = 4


class MissingExtraError(RerankerError):
    """A command needs libraries of an extra that is not installed."""

    exit_code = 2

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs libraries that are not installed.", hint=f'Install them: pip install "distilled-reranker[{extra}]"')
