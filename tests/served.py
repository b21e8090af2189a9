"""Runs `reranker serve` as a process, sends requests to it, and finds free ports."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

COMMAND = [sys.executable, "-c", "from reranker.cli.app import main; main()"]


class Served(NamedTuple):
    """A running service, its address, and the file with its error output."""

    process: subprocess.Popen[str]
    url: str
    stderr: Path

    def ask(self, path: str, body: object = None, *, method: str | None = None, key: str | None = None) -> tuple[int, Any, dict[str, str]]:
        """Send a request, a POST if there is a body. Return status, JSON (or text) and headers of the response."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        request = urllib.request.Request(self.url + path, None if body is None else json.dumps(body).encode(), headers, method=method)
        try:
            answer = urllib.request.urlopen(request, timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            text = answer.read().decode()
            return answer.status, json.loads(text) if "json" in answer.headers["content-type"] else text, dict(answer.headers)


@contextmanager
def served(folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> Iterator[Served]:
    """Run `reranker serve` with the arguments on a free port; ``folder`` holds its home and its error output."""
    with launched(folder, "serve", "--port", "0", "--threads", "1", *arguments, environment=environment) as running:
        yield running


@contextmanager
def launched(folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> Iterator[Served]:
    """Run a command of `reranker` that prints its address once it listens. Killed at the end."""
    stderr = folder / "stderr"
    home = {"RERANKER_HOME": str(folder / "home")}
    with stderr.open("w") as errors:
        process = subprocess.Popen([*COMMAND, *arguments], env={**os.environ, **home, **(environment or {})}, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://[\d.]+:\d+", process.stdout.readline())  # an empty line if it has ended
        assert found, stderr.read_text()
        yield Served(process, found.group(), stderr)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def free_port() -> int:
    """Return an unused port."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def until(condition: Callable[[], Any], *, seconds: float = 60) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
