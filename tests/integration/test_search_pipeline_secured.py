"""The rerank pipeline on a cluster with TLS and passwords, and a service with a key."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opensearchpy import OpenSearch

from tests.secured_opensearch import SecuredOpenSearch
from tests.served import served

pytestmark = pytest.mark.integration

KEY = "key-of-the-shop-9876543210"
PRODUCTS = [
    {"id": "1", "title": "Laptop bag for a laptop", "description": "laptop laptop laptop"},
    {"id": "2", "title": "HP ProBook 450 laptop", "description": "15.6 inch notebook with 16 GB of memory"},
    {"id": "3", "title": "Laptop lock, laptop cable", "description": "keeps a laptop on its desk"},
    {"id": "4", "title": "Lenovo ThinkPad laptop"},
]
SHOPPER, SHOPPERS_PASSWORD = "shopper", "a-Shopper-s-Passw0rd!"


def reranker(secured: SecuredOpenSearch, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "reranker", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, env={**os.environ, **secured.environment(), **environment}, check=False)


def client(secured: SecuredOpenSearch, user: str, password: str) -> OpenSearch:
    return OpenSearch(secured.url, http_auth=(user, password), ca_certs=str(secured.authority), timeout=60)


def search(client: OpenSearch, **params: str) -> list[tuple[str, float]]:
    answer: dict[str, Any] = client.search(index="laptops", body={"query": {"match": {"title": "laptop"}}}, params=params)
    return [(hit["_id"], hit["_score"]) for hit in answer["hits"]["hits"]]


@pytest.fixture(scope="module")
def laptops(secured_opensearch: SecuredOpenSearch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenSearch]:
    """An index, and a user who may search it and no more."""
    catalogue = tmp_path_factory.mktemp("catalogue") / "laptops.jsonl"
    catalogue.write_text("\n".join(json.dumps(product) for product in PRODUCTS), encoding="utf-8")
    done = reranker(secured_opensearch, "index", "--catalog", str(catalogue), "--opensearch", secured_opensearch.url, "--index", "laptops")
    assert done.returncode == 0, done.stderr
    with client(secured_opensearch, secured_opensearch.user, secured_opensearch.password) as admin:
        api = "/_plugins/_security/api"
        may_read = {"index_patterns": ["laptops*"], "allowed_actions": ["read", "indices_monitor"]}
        admin.transport.perform_request(
            "PUT", f"{api}/roles/shopping", body={"cluster_permissions": ["cluster_composite_ops_ro"], "index_permissions": [may_read]}
        )
        admin.transport.perform_request("PUT", f"{api}/roles/asking", body={"cluster_permissions": ["cluster:admin/opensearch/ml/predict"]})
        admin.transport.perform_request(
            "PUT", f"{api}/internalusers/{SHOPPER}", body={"password": SHOPPERS_PASSWORD, "opendistro_security_roles": ["shopping"]}
        )
        yield admin


def test_installing_searching_and_removing(secured_opensearch: SecuredOpenSearch, laptops: OpenSearch, host_of_containers: str, tmp_path: Path) -> None:
    with served(tmp_path, "--host", "0.0.0.0", environment={"RERANKER_API_KEY": KEY}) as service:
        there = f"http://{host_of_containers}:{service.url.rsplit(':', 1)[1]}"
        arguments = ["--opensearch", secured_opensearch.url, "--index", "laptops"]
        try:
            done = reranker(secured_opensearch, "pipeline", "install", *arguments, "--service", there, "--budget-ms", "20000", RERANKER_API_KEY=KEY)
            assert done.returncode == 0, done.stdout + done.stderr
            plain, reranked = search(laptops), search(laptops, search_pipeline="laptops-reranked")
            assert [i for i, _ in reranked] != [i for i, _ in plain]
            assert all(0 <= score <= 1 for _, score in reranked)
            assert reranker(secured_opensearch, "pipeline", "status", *arguments).returncode == 0

            with client(secured_opensearch, SHOPPER, SHOPPERS_PASSWORD) as shopper:
                assert search(shopper, search_pipeline="laptops-reranked") == plain  # may not call models, but may search
                laptops.transport.perform_request(
                    "PUT",
                    f"/_plugins/_security/api/internalusers/{SHOPPER}",
                    body={"password": SHOPPERS_PASSWORD, "opendistro_security_roles": ["shopping", "asking"]},
                )
                assert search(shopper, search_pipeline="laptops-reranked") == reranked

            models = laptops.transport.perform_request("POST", "/_plugins/_ml/models/_search", body={"query": {"match_all": {}}})
            told = json.dumps(models) + done.stdout + done.stderr + service.stderr.read_text()
            assert KEY not in told
            assert secured_opensearch.password not in told
        finally:
            assert reranker(secured_opensearch, "pipeline", "remove", *arguments).returncode == 0
    assert "laptops-reranked" not in laptops.search_pipeline.get(params={"ignore": 404})


def test_a_wrong_password_gets_a_message(secured_opensearch: SecuredOpenSearch) -> None:
    done = reranker(secured_opensearch, "pipeline", "status", "--opensearch", secured_opensearch.url, OPENSEARCH_PASSWORD="wrong-one")
    assert done.returncode == 4
    assert "did not accept the user and password" in done.stderr
    assert "wrong-one" not in done.stderr
