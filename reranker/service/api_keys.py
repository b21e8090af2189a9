"""API keys: reading them, and checking a request for one."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from pathlib import Path

from starlette.datastructures import Headers

from reranker.errors import InputError

KEY, KEY_FILE = "RERANKER_API_KEY", "RERANKER_API_KEY_FILE"
MIN_CHARACTERS = 16
_ONE_A_LINE = f"Give one key per line, of at least {MIN_CHARACTERS} characters each; `openssl rand -hex 24` prints one."


class ApiKeys:
    """Accepted keys. Only their digests are kept, so that no log, traceback or memory dump of this object shows a key."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.replace(keys)

    def replace(self, keys: Iterable[str]) -> None:
        """Accept these keys and no others from now on."""
        self._digests = [_digest(key) for key in keys]

    def admit(self, headers: Headers) -> bool:
        """Say whether ``Authorization: Bearer KEY`` or ``X-API-Key: KEY`` holds one of the keys, in constant time."""
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        offered = [bearer.strip() if scheme.lower() == "bearer" else "", headers.get("x-api-key", "")]
        same = [hmac.compare_digest(_digest(key), digest) for key in offered if key for digest in self._digests]
        return any(same)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def read_keys(file: Path | None, environment: Mapping[str, str]) -> list[str] | None:
    """Return the keys of ``file``, else of the file named by RERANKER_API_KEY_FILE, else of RERANKER_API_KEY; None if none is set.

    There is one key per line. Blank lines and lines that begin with # are ignored.

    Raises:
        InputError: the file cannot be read or holds no key, or a key is too short or not printable ASCII. The message never contains a key.
    """
    named = file or (Path(environment[KEY_FILE]) if environment.get(KEY_FILE) else None)
    if named is None:
        return _keys(environment[KEY], KEY) if KEY in environment else None
    try:
        text = named.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"The key file {named} cannot be read: {error.strerror}.", hint=_ONE_A_LINE) from None
    except UnicodeDecodeError:
        raise InputError(f"The key file {named} is not text.", hint=_ONE_A_LINE) from None
    return _keys(text, str(named))


def _keys(text: str, source: str) -> list[str]:
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    keys = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not keys:
        raise InputError(f"{source} holds no API key.", hint=f"{_ONE_A_LINE} To serve without keys, leave it unset.")
    for number, key in keys:
        if len(key) < MIN_CHARACTERS:
            raise InputError(f"The API key in line {number} of {source} has {len(key)} characters.", hint=_ONE_A_LINE)
        if not all("!" <= character <= "~" for character in key):
            raise InputError(f"The API key in line {number} of {source} holds a space, or a character outside ASCII.", hint=_ONE_A_LINE)
    return [key for _, key in keys]
