"""API keys: which requests are accepted, and that no message shows a key."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from reranker import Reranker
from reranker.errors import InputError
from reranker.service import create_app
from reranker.service.api_keys import ApiKeys, read_keys
from tests.tiny_bundle import make_tiny_bundle

KEY, SECOND = "sesame-opens-the-door", "the-key-that-comes-next"
BODY = {"query": "laptop", "documents": ["laptop"]}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    reranker = Reranker.load(make_tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle"), threads=1)
    return TestClient(create_app(reranker, keys=ApiKeys([KEY, SECOND])), raise_server_exceptions=False)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer  {SECOND}"},
        {"X-API-Key": KEY},
        {"Authorization": "Basic dXNlcjpwYXNz", "X-API-Key": SECOND},
    ],
)
def test_a_known_key_is_accepted(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post("/v2/rerank", json=BODY, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"X-API-Key": ""},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": f"Bearer {KEY}x"},
        {"Authorization": f"Bearer {KEY[:-1]}"},
        {"Authorization": KEY},
        {"X-API-Key": f"{KEY} {SECOND}"},
        {"X-API-Key": "ключ-ключ-ключ-ключ".encode().decode("latin-1")},
    ],
)
def test_anything_else_is_refused(client: TestClient, headers: dict[str, str]) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    for method, path in (("POST", "/v2/rerank"), ("POST", "/rerank"), ("GET", "/search?q=x"), ("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/no")):
        answer = client.request(method, path, json=BODY if method == "POST" else None, headers=raw)
        assert answer.status_code == 401, path
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.json()["error"].keys() == {"message", "hint"}
        assert KEY not in answer.text


def test_probes_and_metrics_need_no_key_and_count_refusals(client: TestClient) -> None:
    assert client.get("/health").status_code == 200
    assert client.get("/ready").status_code == 200
    assert client.post("/rerank", json=BODY).status_code == 401
    metrics = client.get("/metrics").text
    assert 'reranker_refused_total{reason="no key"}' in metrics
    assert KEY not in metrics


def test_the_description_documents_401_and_503(client: TestClient) -> None:
    paths = client.get("/openapi.json", headers={"X-API-Key": KEY}).json()["paths"]
    assert all({"401", "503"} <= paths[path][method]["responses"].keys() for path, method in (("/v2/rerank", "post"), ("/rerank", "post"), ("/search", "get")))


def test_keys_come_from_the_option_then_the_file_then_the_environment(tmp_path: Path) -> None:
    option, named = tmp_path / "option", tmp_path / "named"
    option.write_text(f"# in use until June\n{KEY}\r\n\n  {SECOND}  \n")
    named.write_bytes(b"\xef\xbb\xbf" + SECOND.encode())
    environment = {"RERANKER_API_KEY_FILE": str(named), "RERANKER_API_KEY": "another-key-of-length"}
    assert read_keys(option, environment) == [KEY, SECOND]
    assert read_keys(None, environment) == [SECOND]
    assert read_keys(None, {"RERANKER_API_KEY": f"{KEY}\n{SECOND}"}) == [KEY, SECOND]
    assert read_keys(None, {}) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no API key"),
        (b"\n  \n# nothing here yet\n", "holds no API key"),
        (b"sesame-opens-the-door\nshort-secret\n", "in line 2 of"),
        (b"sesame opens the door", "holds a space"),
        ("schlüssel-zum-schloss".encode(), "outside ASCII"),
        (b"\xff\xfe\x00", "is not text"),
    ],
)
def test_errors_about_unusable_keys_never_show_them(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "keys"
    file.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_keys(file, {})
    assert caught.value.hint
    assert all(word not in str(caught.value) for word in ("sesame", "short-secret", "schloss"))


def test_a_blank_key_in_the_environment_is_an_error() -> None:
    with pytest.raises(InputError, match="RERANKER_API_KEY holds no API key"):
        read_keys(None, {"RERANKER_API_KEY": ""})
    with pytest.raises(InputError, match="cannot be read"):
        read_keys(Path("nowhere"), {})
