"""Runs `reranker serve` as a user would, with the shipped bundle unless told otherwise."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serving(home: Path, *arguments: str) -> Iterator[str]:
    """Gives the service's address. Its indexes, and what it says to stderr, are kept in ``home``."""
    command = [sys.executable, "-m", "reranker", "serve", "--port", "0", *arguments]
    with (home / "stderr").open("w+") as stderr:
        process = subprocess.Popen(command, env={**os.environ, "RERANKER_HOME": str(home)}, stdout=subprocess.PIPE, stderr=stderr, text=True)
        assert process.stdout is not None
        try:
            line = process.stdout.readline()  # printed once it listens; empty when it ended before
            address = re.search(r"http://[\d.]+:\d+", line)
            stderr.seek(0)
            assert address, f"the service did not start: {line}{stderr.read()}"
            yield address.group()
        finally:
            process.terminate()
            process.wait(60)
            process.stdout.close()
