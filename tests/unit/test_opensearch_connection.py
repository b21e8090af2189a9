"""The user's error messages if OpenSearch cannot be used; no real OpenSearch needed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from reranker.errors import FirstStageError, InputError
from reranker.first_stage import check_index_name
from reranker_opensearch import connection
from reranker_opensearch.connection import Cluster
from tests.commands import run_command
from tests.served import free_port


@pytest.fixture
def answering() -> Iterator[tuple[str, dict[str, object]]]:
    """URL of a server that answers every GET with the status, type and body put into the mapping."""
    reply: dict[str, object] = {"status": 200, "type": "application/json", "body": b"{}"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(int(str(reply["status"])))
            self.send_header("Content-Type", str(reply["type"]))
            self.end_headers()
            self.wfile.write(bytes(reply["body"]))  # type: ignore[call-overload]

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", reply
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:9200",
        "ftp://me:secret@host",
        "http://",
        "http://me:sec#ret@host:9200",
        "http://host:99999",
        "http://[::1",
        "http://host/?q=secret",
        "http://a:9200,b:9200",
        "http://a:9200,",
    ],
)
def test_addresses_that_are_not_urls(url: str) -> None:
    with pytest.raises(InputError, match=r"OpenSearch is not an? ") as raised:
        Cluster(url)
    assert "sec" not in str(raised.value)


def test_unreachable() -> None:
    port = free_port()
    with pytest.raises(FirstStageError, match=f"http://127.0.0.1:{port} cannot be reached: .*Connection refused") as raised:
        Cluster(f"http://me:secret@127.0.0.1:{port}")
    assert raised.value.hint
    assert "secret" not in str(raised.value)


def test_several_nodes_none_of_which_answers() -> None:
    ports = free_port(), free_port()
    with pytest.raises(FirstStageError, match=f"http://127.0.0.1:{ports[0]},http://127.0.0.1:{ports[1]} cannot be reached") as raised:
        Cluster(f"http://me:sec,ret@127.0.0.1:{ports[0]}, http://me:sec,ret@127.0.0.1:{ports[1]}")
    assert "sec" not in str(raised.value)


def test_a_node_that_does_not_answer_is_passed_over(answering: tuple[str, dict[str, object]]) -> None:
    url, reply = answering
    reply |= {"body": b'{"version": {"distribution": "opensearch", "number": "2.19.1"}}'}
    for _ in range(4):  # which node is asked first is chance
        Cluster(f"http://127.0.0.1:{free_port()},{url}").close()


def test_unreachable_at_the_command_line() -> None:
    environment = {"OPENSEARCH_USER": "me", "OPENSEARCH_PASSWORD": "secret-word"}
    done = run_command("index", "--opensearch", f"http://127.0.0.1:{free_port()}", environment=environment)
    assert done.returncode == 4
    assert "cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret-word" not in done.stdout + done.stderr


def test_https_for_a_server_without_tls(answering: tuple[str, dict[str, object]]) -> None:
    with pytest.raises(FirstStageError, match="No secure connection") as raised:
        Cluster(answering[0].replace("http:", "https:"))
    assert "OPENSEARCH_CA_CERTS" in str(raised.value)


def test_a_missing_certificate_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENSEARCH_CA_CERTS", "/nowhere/ca.pem")
    with pytest.raises(InputError, match=r"/nowhere/ca\.pem"):
        Cluster("https://127.0.0.1:9200")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/html", b"<h1>Welcome</h1>"),
        ("application/json", b"[1, 2]"),
        ("application/json", b"not JSON"),
        ("application/json", b'{"version": {"number": "8.15.0"}}'),
    ],
)
@pytest.mark.parametrize("status", [200, 404])
def test_a_server_that_is_not_opensearch(answering: tuple[str, dict[str, object]], kind: str, body: bytes, status: int) -> None:
    url, reply = answering
    reply |= {"type": kind, "body": body, "status": status}
    with pytest.raises(FirstStageError, match="is not OpenSearch"):
        Cluster(url)


def test_a_server_that_needs_a_password(answering: tuple[str, dict[str, object]]) -> None:
    url, reply = answering
    reply |= {"status": 401, "type": "text/plain", "body": b"Unauthorized"}
    with pytest.raises(FirstStageError, match="did not accept the user and password") as raised:
        Cluster(url)
    assert "OPENSEARCH_PASSWORD" in str(raised.value)


def test_a_server_that_fails(answering: tuple[str, dict[str, object]]) -> None:
    url, reply = answering
    reply |= {"status": 503, "body": b'{"error": {"type": "x", "reason": "no cluster manager"}}'}
    with pytest.raises(FirstStageError, match="status 503: no cluster manager"):
        Cluster(url)


def test_a_server_that_never_answers() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(FirstStageError, match=r"did not answer within 0\.2 s"):
            Cluster(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.2)


def test_a_search_does_not_wait_for_long() -> None:
    assert connection.SEARCH_TIMEOUT_S <= 10


@pytest.mark.parametrize("name", ["", "Products", "../x", "a/b", "_hidden", "-x", "a*", "a,b", "x" * 201, "..", "a b"])
def test_names_that_no_index_can_have(name: str) -> None:
    with pytest.raises(InputError, match="cannot name an index"):
        check_index_name(name)


@pytest.mark.parametrize("name", ["products", "shop-2", "a_b", "1"])
def test_names_that_an_index_can_have(name: str) -> None:
    assert check_index_name(name) == name
