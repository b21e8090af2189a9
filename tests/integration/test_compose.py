"""docker/compose.yaml, started unchanged: OpenSearch, the demo catalogue, the service, the page."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.served import free_port

pytestmark = pytest.mark.integration

FILE = Path(__file__).parents[2] / "docker" / "compose.yaml"
PROJECT = f"reranker-test-{os.getpid()}"
Run = Callable[..., subprocess.CompletedProcess[str]]


PORTS = {name: free_port() for name in ("OPENSEARCH_PORT", "SERVICE_PORT", "PAGE_PORT")}


@pytest.fixture(scope="module")
def compose(service_image: str) -> Run:
    """Runs `docker compose` or `docker-compose`, whichever is there, with a project and ports of its own."""
    environment = {**os.environ, "SERVICE_IMAGE": service_image, **{name: str(port) for name, port in PORTS.items()}}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*found, "-p", PROJECT, "-f", str(FILE), *arguments], env=environment, capture_output=True, text=True, timeout=400, check=False)

    for found in (("docker", "compose"), ("docker-compose",)):
        try:
            if subprocess.run([*found, "version"], capture_output=True, check=False).returncode == 0:
                return run
        except FileNotFoundError:
            pass
    if os.environ.get("CI"):
        pytest.fail("no compose on this machine: apt-get install docker-compose")
    pytest.skip("no compose on this machine; `bash tests/run` installs it")


@pytest.fixture(scope="module")
def up(compose: Run) -> Iterator[None]:
    try:
        done = compose("up", "-d")
        assert done.returncode == 0, done.stderr[-2_000:] + compose("logs", "--tail", "40").stdout[-4_000:]
        yield
    finally:
        compose("down", "--volumes", "--timeout", "20")


def wait_until_healthy(service: str) -> Any:
    import docker

    deadline = time.monotonic() + 120
    while True:
        labels = [f"com.docker.compose.project={PROJECT}", f"com.docker.compose.service={service}"]
        (container,) = docker.from_env().containers.list(all=True, filters={"label": labels})
        if container.attrs["State"]["Health"]["Status"] == "healthy":
            return container
        assert time.monotonic() < deadline, container.logs().decode()
        time.sleep(0.5)


def get(port: str, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{PORTS[port]}{path}", timeout=60) as answer:
        return bytes(answer.read())


def test_compose_accepts_the_file(compose: Run) -> None:
    done = compose("config", "--quiet")
    assert done.returncode == 0, done.stderr


def test_the_service_searches_the_catalogue_in_opensearch_and_reranks(up: None) -> None:
    wait_until_healthy("opensearch")
    wait_until_healthy("service")
    assert json.loads(get("SERVICE_PORT", "/ready"))["first_stage"] == {"name": "opensearch", "products": 19_406}
    found = json.loads(get("SERVICE_PORT", "/search?q=monitor"))
    assert found["reranked"] is True
    assert len(found["results"]) == 10
    assert json.loads(get("OPENSEARCH_PORT", "/demo/_count"))["count"] == 19_406


def test_the_page_shows_both_orders_and_example_queries(up: None) -> None:
    wait_until_healthy("page")
    page = get("PAGE_PORT", "/").decode()
    assert "BM25" in page
    assert '<button type="button">monitor</button>' in page
    assert json.loads(get("PAGE_PORT", "/search?q=monitor"))["reranked"] is True


def test_opensearch_itself_reranks_through_the_pipeline(up: None) -> None:
    def asked(pipeline: str) -> list[str]:
        return [hit["_id"] for hit in json.loads(get("OPENSEARCH_PORT", f"/demo/_search?q=title:monitor&search_pipeline={pipeline}"))["hits"]["hits"]]

    deadline = time.monotonic() + 120
    while True:  # until the container that installs it is done
        try:
            if asked("demo-reranked") != asked("_none"):
                return
        except urllib.error.HTTPError:
            pass
        assert time.monotonic() < deadline
        time.sleep(1)
