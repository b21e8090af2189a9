"""A real OpenSearch behind a proxy that requires a password, as a protected cluster does."""

from __future__ import annotations

import base64
import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from reranker.errors import FirstStageError
from reranker_opensearch.connection import Cluster
from reranker_opensearch.first_stage import OpenSearchFirstStage

pytestmark = pytest.mark.integration

USER, PASSWORD = "shop", "pa:ss@word/1"


@pytest.fixture(scope="module")
def protected(opensearch_url: str) -> Iterator[str]:
    """Host and port of the proxy."""
    node = urlsplit(opensearch_url).netloc
    expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Authorization") != expected:
                self.answer(401, "text/plain", b"Unauthorized")
                return
            onward = http.client.HTTPConnection(node)
            kept = {name: value for name, value in self.headers.items() if name.lower() in ("content-type", "accept")}
            onward.request(self.command, self.path, body, kept)
            answer = onward.getresponse()
            self.answer(answer.status, answer.getheader("Content-Type") or "application/json", answer.read())
            onward.close()

        def answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = forward

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENSEARCH_USER", raising=False)
    monkeypatch.delenv("OPENSEARCH_PASSWORD", raising=False)


def test_without_a_password(protected: str) -> None:
    with pytest.raises(FirstStageError, match="did not accept the user and password") as raised:
        Cluster(f"http://{protected}")
    assert "OPENSEARCH_PASSWORD" in str(raised.value)


def test_with_a_wrong_password(protected: str) -> None:
    with pytest.raises(FirstStageError, match="did not accept the user and password") as raised:
        Cluster(f"http://{USER}:guessed-secret@{protected}")
    assert "guessed-secret" not in str(raised.value)


def test_with_the_password_in_the_environment(protected: str, demo_index: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENSEARCH_USER", USER)
    monkeypatch.setenv("OPENSEARCH_PASSWORD", PASSWORD)
    stage = OpenSearchFirstStage(f"http://{protected}", demo_index)
    assert len(stage.search("laptop", 5)) == 5
    stage.close()


def test_with_the_password_in_the_url(protected: str, demo_index: str) -> None:
    stage = OpenSearchFirstStage(f"http://{USER}:pa%3Ass%40word%2F1@{protected}", demo_index)
    assert len(stage.search("laptop", 5)) == 5
    stage.close()
