"""Eight thousand requests to a running service, most of them malformed: generated from its OpenAPI description, or broken JSON."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import hypothesis.strategies as st
import pytest
import requests
import schemathesis
from hypothesis import given
from schemathesis import GenerationMode

from tests.fuzz.fuzzing import AS_DESCRIBED, HOSTILE, examples

VALID = {"query": "laptop", "documents": ["laptop", {"title": "Desk"}], "texts": ["laptop"], "top_n": 1, "return_documents": True}
BODY = json.dumps(VALID).encode()
CONTENT_TYPES = [
    *["application/json"] * 5,
    None,
    "text/plain",
    "application/json; charset=utf-16",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "é",
]


@pytest.mark.parametrize(
    ("path", "count"), [("POST /v2/rerank", 700), ("POST /v1/rerank", 200), ("POST /rerank", 600), ("GET /search", 1_000)], ids=lambda value: str(value)
)
@pytest.mark.parametrize("mode", [GenerationMode.NEGATIVE, GenerationMode.POSITIVE])
def test_requests_made_from_the_description(description: Any, session: requests.Session, path: str, count: int, mode: GenerationMode) -> None:
    method, where = path.split()
    statuses: Counter[int] = Counter()

    @examples(count if mode is GenerationMode.NEGATIVE else count // 2)
    @given(description[where][method].as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        response = case.call(session=session, timeout=60)
        statuses[response.status_code] += 1
        case.validate_response(response, checks=AS_DESCRIBED)

    send()
    common, _ = statuses.most_common(1)[0]
    assert common == (200 if mode is GenerationMode.POSITIVE else 422), statuses


def broken() -> st.SearchStrategy[bytes]:
    """A valid body cut short, with bytes put in at some places, or no body at all."""
    places = st.integers(0, len(BODY))

    def put(body: bytes, at: list[tuple[int, bytes]]) -> bytes:
        for place, what in at:
            body = body[:place] + what + body[place:]
        return body

    spoilt = st.builds(put, st.just(BODY), st.lists(st.tuples(places, st.sampled_from(HOSTILE) | st.binary(max_size=8)), min_size=1, max_size=3))
    values = st.builds(
        lambda key, value: json.dumps(VALID).encode().replace(json.dumps(VALID[key]).encode(), value, 1), st.sampled_from(list(VALID)), st.sampled_from(HOSTILE)
    )
    return st.one_of(spoilt, values, places.map(lambda place: BODY[:place]), st.binary(max_size=200))


@pytest.mark.parametrize("path", ["/v2/rerank", "/v1/rerank", "/rerank"])
def test_bodies_that_are_not_json(description: Any, session: requests.Session, url: str, path: str) -> None:
    case = description[path]["POST"].Case(body=VALID)
    statuses: Counter[int] = Counter()

    @examples(1_600)
    @given(broken(), st.sampled_from(CONTENT_TYPES))
    def send(body: bytes, content_type: str | None) -> None:
        response = session.post(url + path, data=body, headers={"Content-Type": content_type.encode() if content_type else None}, timeout=60)
        statuses[response.status_code] += 1
        case.validate_response(schemathesis.Response.from_any(response), checks=AS_DESCRIBED)

    send()
    assert {200, 400, 415, 422} <= statuses.keys(), statuses
