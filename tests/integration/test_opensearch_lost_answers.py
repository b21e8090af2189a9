"""A connection that breaks after OpenSearch has carried out a request: nothing is lost, refused or indexed twice."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from reranker.products import CatalogProblem, Product
from reranker_opensearch.connection import Cluster
from reranker_opensearch.first_stage import OpenSearchFirstStage
from reranker_opensearch.indexing import index_products

pytestmark = pytest.mark.integration

PRODUCTS: list[Product] = [{"id": str(i), "title": f"laptop {i}"} for i in range(1_200)]


@pytest.fixture
def forgetful(opensearch_url: str) -> Iterator[str]:
    """URL of a proxy that forwards every change, and drops the answer of each one's first request."""
    node = urlsplit(opensearch_url).netloc
    dropped: set[tuple[str, str, bytes]] = set()

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            onward = http.client.HTTPConnection(node)
            onward.request(self.command, self.path, body, {"Content-Type": self.headers.get("Content-Type") or "application/json"})
            answer = onward.getresponse()
            content = answer.read()
            onward.close()
            asked = (self.command, self.path, body)
            if self.command != "GET" and asked not in dropped:
                dropped.add(asked)
                self.close_connection = True
                return
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.getheader("Content-Type") or "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = forward

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_lost_answers_lose_no_product(forgetful: str, opensearch_url: str) -> None:
    cluster = Cluster(forgetful)
    for _ in range(2):  # the second time there is an old index to be removed
        assert index_products(cluster, "forgotten", PRODUCTS) == len(PRODUCTS)
    stage = OpenSearchFirstStage(opensearch_url, "forgotten")
    assert stage.count() == len(PRODUCTS)
    assert stage.get(["0", "1199"]) == {"0": PRODUCTS[0], "1199": PRODUCTS[-1]}
    assert len(Cluster(opensearch_url).client.indices.get(index="forgotten-*")) == 1


def test_a_duplicate_id_is_still_noticed(forgetful: str, opensearch_url: str) -> None:
    rejected: list[CatalogProblem] = []
    products = [*PRODUCTS[:600], {"id": "7", "title": "another"}]
    assert index_products(Cluster(forgetful), "twice", products, skip_rejected=True, rejected=rejected) == 600
    assert [one.product_id for one in rejected] == ["7"]
    assert OpenSearchFirstStage(opensearch_url, "twice").get(["7"]) == {"7": PRODUCTS[7]}
