"""Hostile requests to a running service. After each one a good request must be answered as if nothing had happened."""

from __future__ import annotations

import json
import re
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from benchmarks.load.command import memory_mb
from tests.hostile import body_cases, connection_cases, pipeline_cases, protocol_cases
from tests.hostile.case import Answer, Case, Outcome, Target, one_exchange, outcomes
from tests.hostile.raw_http import Address, connect, exchange, get, post
from tests.served import Served, served
from tests.tiny_bundle import make_tiny_bundle

GOOD_WITHIN_S = 5.0
"""What a good request may take at most. It takes milliseconds, and a busy machine does not make seconds of them; a service that one
request freezes stands still for tens of seconds."""
OPEN_FILES = 1_024
CLIENT_TIMEOUT_S = 3
CASES = [*protocol_cases.CASES, *body_cases.CASES, *pipeline_cases.CASES, *connection_cases.CASES]
GOOD = post("/v2/rerank", {"query": "gaming laptop", "documents": [*(f"desk {i}" for i in range(19)), "gaming laptop"]})
MOST_LOG_BYTES, LONGEST_LINE = 1_000_000, 5_000
MOST_ERROR_BYTES = 10_000


class UnderAttack:
    """The service, started when it is needed. A case that breaks it gets it replaced, so that the cases after it do not fail too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.service: Served | None = None
        self._running = ExitStack()
        self._warm_mb = 0.0

    def target(self) -> Target:
        if self.service is None:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, hard))  # the service inherits it
            try:
                self.service = self._running.enter_context(served(self.folder, *self._options()))
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for _ in range(200):
                be_good(self.address)
            one_exchange(self.address, get("/search?q=laptop&size=1000"))
            self._warm_mb = memory_mb(self.service.process.pid)
        return Target(self.address, self.service.process.pid, self._warm_mb)

    def _options(self) -> list[str]:
        return ["--catalog", str(self.folder / "catalog.jsonl"), "--bundle", str(self.folder / "bundle"), "--client-timeout-s", str(CLIENT_TIMEOUT_S)]

    @property
    def address(self) -> Address:
        assert self.service is not None
        url = urlsplit(self.service.url)
        return Address(str(url.hostname), url.port or 0)

    def close(self) -> None:
        self.service = None
        self._running.close()


@pytest.fixture(scope="module")
def under_attack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UnderAttack]:
    folder = tmp_path_factory.mktemp("attacked")
    make_tiny_bundle(folder / "bundle")
    catalog = [{"id": str(i), "title": f"Gaming laptop {i}", "description": "word " * 1_600} for i in range(1_000)]
    (folder / "catalog.jsonl").write_text("".join(json.dumps(product) + "\n" for product in catalog), encoding="utf-8")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8 * OPEN_FILES), hard))
    try:
        with closing(UnderAttack(folder)) as attacked:
            yield attacked
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def be_good(address: Address) -> None:
    """Rerank 20 documents and ask for the health, on a new connection."""
    began = time.monotonic()
    with connect(address) as connection:
        (ranked,) = exchange(connection, GOOD)
        (health,) = exchange(connection, get("/health"))
    assert (ranked.status, health.status) == (200, 200)
    assert [result["index"] for result in json.loads(ranked.body)["results"]] == [19, *range(19)]
    assert json.loads(health.body) == {"status": "alive"}
    assert time.monotonic() - began < GOOD_WITHIN_S


def carry_out(case: Case, target: Target) -> list[Answer | str]:
    """Attack, with good requests in between where the case lets them be sent, and one at the end."""
    if isinstance(case.attack, bytes | tuple):
        requests = (case.attack,) if isinstance(case.attack, bytes) else case.attack
        found = [answer for data in requests for answer in one_exchange(target.address, data, case.answers)]
    else:
        attack = case.attack(target)
        with closing(attack):
            while True:
                try:
                    next(attack)
                except StopIteration as ended:
                    found = list(ended.value)
                    break
                be_good(target.address)
    be_good(target.address)
    return found


def check(case: Case, found: list[Answer | str]) -> None:
    """Check the outcomes, that errors are in a form that a client can use, and that they do not send back what they got."""
    seen: set[Outcome] = outcomes(found)
    said = [answer.body[:300] for answer in found if isinstance(answer, Answer)][:3]
    assert seen <= case.allowed, (seen - case.allowed, said)
    for answer in found:
        if not isinstance(answer, Answer):
            continue
        assert "access-control-allow-origin" not in answer.headers
        if answer.status >= 400:
            assert len(answer.body) < MOST_ERROR_BYTES
            assert b"Traceback" not in answer.body
        if answer.headers.get("content-type", "").startswith("application/json") and answer.body:
            body = json.loads(answer.body)
            if answer.status >= 400:
                assert body["error"]["message"]
                assert case.says in body["error"]["message"] + (body["error"]["hint"] or ""), body


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_hostile_request_hurts_nobody(under_attack: UnderAttack, case: Case) -> None:
    target = under_attack.target()
    try:
        found = carry_out(case, target)
    except BaseException:
        under_attack.close()
        raise
    check(case, found)


def test_the_service_is_as_it_was(under_attack: UnderAttack) -> None:
    """The last test of this file: memory, log, and the end of the service after all the cases above."""
    target = under_attack.target()
    assert under_attack.service is not None
    be_good(target.address)
    deadline = time.monotonic() + 20
    while (left := memory_mb(target.pid)) > connection_cases.LEFT * target.warm_mb and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left <= connection_cases.LEFT * target.warm_mb
    under_attack.service.process.send_signal(signal.SIGTERM)
    assert under_attack.service.process.wait(60) == 0
    log = under_attack.service.stderr.read_bytes()
    assert len(log) < MOST_LOG_BYTES
    assert max(map(len, log.splitlines()), default=0) <= LONGEST_LINE
    assert not re.findall(rb"Traceback.*\n(?:.*\n){0,40}", log)
    assert b"\x1b" not in log
