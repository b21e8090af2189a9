"""A round of the command line with opensearch-py 2 against a real OpenSearch; all other tests run with version 3."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.served import served

pytestmark = pytest.mark.integration

Run = Callable[..., Any]
LOCK = Path(__file__).with_name("opensearch-py-2.txt")
PRODUCTS = [
    {"id": str(number), "title": title} for number, title in enumerate(["Laptop bag, 15 inch", "HP ProBook laptop", "Laptop charger 65 W", "HDMI cable"])
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run `reranker` with opensearch-py 2 and return what it prints as JSON."""
    library = tmp_path_factory.mktemp("opensearch-py-2")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--require-hashes", "--target", str(library), "-r", str(LOCK)]
    subprocess.run(pip, check=True, timeout=300, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(library), os.environ.get("PYTHONPATH", "")])}
    version = [sys.executable, "-c", "import opensearchpy; print(opensearchpy.__versionstr__)"]
    assert subprocess.run(version, env=environment, capture_output=True, text=True, check=True).stdout.startswith("2.")

    def run(*arguments: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "reranker", *arguments, "--json"], env=environment, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    return run


def test_index_search_evaluate_and_pipeline(run: Run, opensearch_url: str, host_of_containers: str, tmp_path: Path) -> None:
    catalogue, judgments = tmp_path / "catalogue.jsonl", tmp_path / "judgments.csv"
    catalogue.write_text("".join(json.dumps(product) + "\n" for product in PRODUCTS), encoding="utf-8")
    judgments.write_text("query,product_id,rating\nlaptop,1,3\nlaptop,0,1\nlaptop,2,0\nhdmi cable,3,3\nhdmi cable,0,0\n", encoding="utf-8")
    there = ["--opensearch", opensearch_url, "--index", "with-client-2"]
    for _ in range(2):  # the second time the alias is switched
        assert run("index", *there, "--catalog", str(catalogue))["products"] == len(PRODUCTS)
    found = run("search", "laptop", *there)
    assert found["reranked"] is True
    assert {result["id"] for result in found["results"]} == {"0", "1", "2"}
    measured = run("evaluate", *there, "--judgments", str(judgments), "--no-embedder", "--include-seen")
    assert measured["first_stage"] == {"name": "opensearch", "products": len(PRODUCTS)}
    with served(tmp_path, "--host", "0.0.0.0") as service:
        address = f"http://{host_of_containers}:{service.url.rsplit(':', 1)[1]}"
        installed = run("pipeline", "install", *there, "--service", address, "--budget-ms", "20000", "--default")
        assert installed["status"]["works"] is True
        assert run("pipeline", "status", *there)["works"] is True
        assert run("pipeline", "remove", *there)["done"]
