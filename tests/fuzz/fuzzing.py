"""What the fuzzing tests share: which checks an answer must pass, and how many examples are made."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_headers_conformance, response_schema_conformance, status_code_conformance

AS_DESCRIBED = [not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance, response_schema_conformance]

# Pieces of JSON that parsers stumble over
HOSTILE = [
    *(b"NaN", b"-Infinity", b"1e999", b"9" * 5_000, b"-0", b"null", b"true", b'"\\ud800"', b'"\\u0000"', b"{}", b"[]", b"[" * 2_000, b'{"a":' * 2_000),
    *(b"\xff", b"\x00", b"\xef\xbb\xbf", b"'", b",", b":", b"//", b'"query":1', b'"query":"\xed\xa0\x80"'),
]


def examples(count: int) -> settings:
    """The same examples in every run, so that a failure comes from a change of the code."""
    return settings(
        max_examples=count, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink]
    )
