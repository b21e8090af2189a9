"""The service's container image, run as in a cluster: not as root, on a read-only file system, without capabilities."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from reranker import Reranker

pytestmark = pytest.mark.integration

QUERY = "gaming laptop"
DOCUMENTS = ["Laptop bag", "ASUS ROG Strix gaming notebook", "HDMI cable"]


@contextmanager
def running(image: str, command: list[str] | None = None) -> Iterator[Any]:
    """A container that may write to its volume and to /tmp, and has 512 MiB."""
    import docker

    container = docker.from_env().containers.run(
        image,
        command,
        detach=True,
        read_only=True,
        tmpfs={"/tmp": ""},
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        mem_limit="512m",
        ports={"8000/tcp": ("127.0.0.1", None)},
    )
    try:
        yield container
    finally:
        container.remove(force=True, v=True)


def wait_until_healthy(container: Any) -> str:
    """Return the service's address once Docker calls the container healthy."""
    deadline = time.monotonic() + 120
    while True:
        container.reload()
        health = container.attrs["State"]["Health"]["Status"]
        if health == "healthy":
            return f"http://127.0.0.1:{container.ports['8000/tcp'][0]['HostPort']}"
        assert container.status == "running", container.logs().decode()
        assert time.monotonic() < deadline, f"{health}: {container.logs().decode()}"
        time.sleep(0.5)


def answer(url: str, body: Any = None) -> Any:
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


@pytest.fixture(scope="module")
def container(service_image: str) -> Iterator[Any]:
    with running(service_image) as container:
        wait_until_healthy(container)
        yield container


@pytest.fixture(scope="module")
def url(container: Any) -> str:
    return wait_until_healthy(container)


def inside(container: Any, *command: str) -> tuple[int, str]:
    code, output = container.exec_run(list(command))
    return code, output.decode().strip()


def test_it_ranks_as_the_library_does(url: str) -> None:
    found = answer(f"{url}/v2/rerank", {"query": QUERY, "documents": DOCUMENTS})["results"]
    expected = Reranker.load().rerank(QUERY, DOCUMENTS)
    assert [result["index"] for result in found] == [ranked.index for ranked in expected]
    assert [result["relevance_score"] for result in found] == pytest.approx([ranked.score for ranked in expected], abs=1e-3)


def test_it_indexes_and_searches_the_demo_catalogue(url: str) -> None:
    assert answer(f"{url}/ready")["first_stage"] == {"name": "embedded", "products": 19_406}
    assert answer(f"{url}/search?q=monitor")["reranked"] is True


def test_it_is_not_root_and_may_not_write_outside_its_volume(container: Any) -> None:
    assert inside(container, "id", "-u")[1] not in ("", "0")
    assert inside(container, "sh", "-c", "touch /var/lib/reranker/x && rm /var/lib/reranker/x")[0] == 0
    for place in ("/", "/opt/reranker", "/etc", "/home"):
        assert inside(container, "touch", f"{place}/x")[0] != 0, place


def test_it_holds_no_training_library(container: Any) -> None:
    code = "import importlib.util as u; print([n for n in ('onnxruntime', 'torch', 'transformers', 'ray') if u.find_spec(n)])"
    assert inside(container, "python3", "-c", code) == (0, "['onnxruntime']")


def test_its_parts_list_names_every_package_that_pip_finds_in_it(container: Any, service_image: str) -> None:
    import pip

    import docker

    code, text = inside(container, "cat", "/opt/sbom.cdx.json")
    assert code == 0
    bill = json.loads(text)
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "distilled-reranker")
    (base,) = (component for component in bill["components"] if component["type"] == "container")
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", base["version"])
    assert container.image.labels["org.opencontainers.image.base.name"] == base["name"]
    found = docker.from_env().containers.run(  # with the pip of this environment, because the image needs none
        service_image,
        ["-m", "pip", "list", "--format", "json", "--path", "/opt/dependencies", "--path", "/opt/reranker"],
        entrypoint="python3",
        environment={"PYTHONPATH": "/pip"},
        volumes={str(Path(pip.__file__).parent): {"bind": "/pip/pip", "mode": "ro"}},
        remove=True,
    )
    packages = {(canonicalize_name(package["name"]), package["version"]) for package in json.loads(found)}
    assert {"numpy", "opensearch-py", "distilled-reranker"} <= {name for name, _ in packages}
    libraries = [component for component in bill["components"] if component["type"] == "library"]
    assert {(canonicalize_name(component["name"]), component["version"]) for component in libraries} == packages
    assert all(component["purl"].startswith("pkg:pypi/") for component in libraries)  # by which scanners look weaknesses up


def test_distilling_says_which_extra_is_missing(container: Any) -> None:
    code, output = inside(container, "python3", "-m", "reranker", "distill", "demo")
    assert code == 2
    assert "distill]" in output
    assert "Traceback" not in output


def test_sigterm_ends_it_in_order(service_image: str) -> None:
    with running(service_image, ["serve", "--host", "0.0.0.0", "--opensearch", "http://127.0.0.1:1"]) as container:
        url = wait_until_healthy(container)
        assert answer(f"{url}/v2/rerank", {"query": QUERY, "documents": DOCUMENTS})["results"]
        container.stop(timeout=30)
        assert container.wait()["StatusCode"] == 0, container.logs().decode()
