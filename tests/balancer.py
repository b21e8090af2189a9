"""One address for several replicas of the service: HAProxy, as a shop would run it."""

from __future__ import annotations

import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

CONFIG = """
global
    maxconn 2000
defaults
    mode http
    timeout connect 500ms
    timeout client 30s
    timeout server 30s
    retries 3
    option redispatch
    retry-on all-retryable-errors
frontend reranker
    bind *:{port}
    default_backend replicas
backend replicas
    balance roundrobin
    option httpchk GET /health
    default-server check inter 300ms fall 2 rise 1
{servers}
"""


@contextmanager
def balanced(folder: Path, port: int, replicas: Sequence[str]) -> Iterator[int]:
    """Run HAProxy before the replicas' addresses; gives its port."""
    haproxy = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/bin:/usr/local/sbin")
    if haproxy is None:
        pytest.fail("HAProxy is not installed; `bash tests/run` installs it")
    servers = "\n".join(f"    server replica{i} {urlsplit(url).netloc}" for i, url in enumerate(replicas))
    config = folder / "haproxy.cfg"
    config.write_text(CONFIG.format(port=port, servers=servers))
    process = subprocess.Popen([haproxy, "-f", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                assert time.monotonic() < until, "HAProxy did not come up"
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(30)
