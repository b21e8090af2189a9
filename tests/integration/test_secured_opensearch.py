"""Indexing into and searching an OpenSearch that requires TLS, a user and a password."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.secured_opensearch import SecuredOpenSearch, certify

pytestmark = pytest.mark.integration

PRODUCTS = [{"id": "1", "title": "Laptop lock"}, {"id": "2", "title": "HP ProBook 450 notebook"}, {"id": "3", "title": "Toner"}]


def reranker(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    without = {name: value for name, value in os.environ.items() if not name.startswith("OPENSEARCH_")}
    command = [sys.executable, "-m", "reranker", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env={**without, **environment}, check=False)


def search(url: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return reranker("search", "laptop", "--no-rerank", "--json", "--opensearch", url, "--index", "secured", **environment)


def test_indexing_and_searching(secured_opensearch: SecuredOpenSearch, tmp_path: Path) -> None:
    catalogue = tmp_path / "products.jsonl"
    catalogue.write_text("\n".join(json.dumps(product) for product in PRODUCTS), encoding="utf-8")
    known = secured_opensearch.environment()
    indexed = reranker("index", "--catalog", str(catalogue), "--opensearch", secured_opensearch.url, "--index", "secured", **known)
    assert indexed.returncode == 0, indexed.stderr
    assert "3 products indexed" in indexed.stdout
    found = search(secured_opensearch.url, **known)
    assert found.returncode == 0, found.stderr
    assert [result["product"]["title"] for result in json.loads(found.stdout)["results"]] == ["Laptop lock"]


@pytest.mark.parametrize("credentials", [{"OPENSEARCH_PASSWORD": "guessed-secret"}, {"OPENSEARCH_USER": "", "OPENSEARCH_PASSWORD": ""}])
def test_a_wrong_password_or_none(secured_opensearch: SecuredOpenSearch, credentials: dict[str, str]) -> None:
    done = search(secured_opensearch.url, **{**secured_opensearch.environment(), **credentials})
    assert done.returncode == 4
    assert "did not accept the user and password" in done.stderr
    assert "OPENSEARCH_PASSWORD" in done.stderr
    assert "guessed-secret" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("trusting", ["the system's authorities", "another authority"])
def test_a_certificate_of_an_unknown_authority(secured_opensearch: SecuredOpenSearch, trusting: str, tmp_path: Path) -> None:
    known = secured_opensearch.environment()
    del known["OPENSEARCH_CA_CERTS"]
    if trusting == "another authority":
        certify(tmp_path)
        known["OPENSEARCH_CA_CERTS"] = str(tmp_path / "authority.pem")
    done = search(secured_opensearch.url, **known)
    assert done.returncode == 4
    assert "No secure connection" in done.stderr
    assert "OPENSEARCH_CA_CERTS" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_certificate_for_another_host_is_refused_unless_any_is_trusted(secured_opensearch: SecuredOpenSearch) -> None:
    other_name = secured_opensearch.url.replace("127.0.0.1", "127.0.0.2")
    done = search(other_name, **secured_opensearch.environment())
    assert done.returncode == 4
    assert "No secure connection" in done.stderr
    known = {**secured_opensearch.environment(), "OPENSEARCH_INSECURE": "1"}
    del known["OPENSEARCH_CA_CERTS"]
    assert "There is no index" in reranker("search", "laptop", "--no-rerank", "--opensearch", other_name, "--index", "none-such", **known).stderr


def test_http_for_a_server_with_tls(secured_opensearch: SecuredOpenSearch) -> None:
    done = search(secured_opensearch.url.replace("https://", "http://"), **secured_opensearch.environment())
    assert done.returncode == 4
    assert "A server with TLS needs https://" in done.stderr
