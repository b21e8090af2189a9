"""Clients that time a whole ``GET /search``: through the app in this process, and over HTTP from a separate service."""

from __future__ import annotations

import asyncio
import http.client
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import urlencode, urlsplit

from reranker.demo_data import demo_file
from reranker.errors import ServiceError
from reranker.first_stage import FirstStage
from reranker.reranker import Reranker
from reranker.search import TwoStageSearch

SIZE = 10


class InProcessClient:
    """Calls the service's app without a network; a context manager."""

    def __init__(self, first_stage: FirstStage, reranker: Reranker, k: int) -> None:
        from reranker.service import create_app

        self._app = create_app(reranker, TwoStageSearch(first_stage, reranker, k=k))
        self._loop = asyncio.new_event_loop()
        self._open = AsyncExitStack()

    def __enter__(self) -> InProcessClient:
        self._loop.run_until_complete(self._open.enter_async_context(self._app.router.lifespan_context(self._app)))
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run_until_complete(self._open.aclose())
        self._loop.close()

    def seconds(self, query: str) -> float:
        """Return the seconds of one search.

        Raises:
            ServiceError: the status is not 200.
        """
        return self._loop.run_until_complete(self._ask(query))

    async def _ask(self, query: str) -> float:
        status = 0

        async def receive() -> dict[str, Any]:
            if not asked:
                asked.append(True)
                return {"type": "http.request", "body": b"", "more_body": False}
            await asyncio.Event().wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)

        asked: list[bool] = []
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/search",
            "raw_path": b"/search",
            "root_path": "",
            "query_string": urlencode({"q": query, "size": SIZE}).encode(),
            "headers": [(b"host", b"localhost")],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        began = perf_counter()
        await self._app(scope, receive, send)
        took = perf_counter() - began
        _check(status, query)
        return took


class HttpClient:
    """One client with a persistent connection."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)

    def seconds(self, query: str) -> float:
        """Return the seconds of one search, from the request to the last byte of the response.

        Raises:
            ServiceError: the status is not 200.
        """
        try:
            return self._ask(query)
        except http.client.RemoteDisconnected:  # the service closes idle connections
            self._connection.close()
            return self._ask(query)

    def _ask(self, query: str) -> float:
        began = perf_counter()
        self._connection.request("GET", f"/search?{urlencode({'q': query, 'size': SIZE})}")
        response = self._connection.getresponse()
        response.read()
        took = perf_counter() - began
        _check(response.status, query)
        return took

    def close(self) -> None:
        self._connection.close()


@contextmanager
def service(bundle: Path, k: int, threads: int) -> Iterator[HttpClient]:
    """Run ``reranker serve`` on the demo catalogue on a free port, without a query cache, and yield a client.

    Raises:
        ServiceError: it does not start.
    """
    command = [sys.executable, "-m", "reranker", "serve", "--port", "0", "--bundle", str(bundle), "--catalog", str(demo_file("products.jsonl.gz"))]
    command += ["--k", str(k), "--threads", str(threads), "--cache", "0"]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            assert process.stdout is not None
            address = re.search(r"http://[\d.]+:\d+", process.stdout.readline())
            if address is None:
                errors.seek(0)
                raise ServiceError(f"The service did not start: {errors.read().strip()[-500:]}", hint="Try it: reranker serve")
            client = HttpClient(address.group())
            try:
                yield client
            finally:
                client.close()
        finally:
            process.terminate()
            process.wait(60)
            if process.stdout is not None:
                process.stdout.close()


def _check(status: int, query: str) -> None:
    if status != 200:
        raise ServiceError(f"The search for '{query}' returned HTTP {status}.", hint="Try it: reranker serve")
