"""Running commands of `reranker` without a process for each."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from unittest import mock

from reranker.cli.app import main


def run_command(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``reranker ARGUMENTS`` in this process, errors and exit code included, as its entry point does.

    A process of its own is only needed for tests of signals, of what is imported, and of the output while it runs.
    """
    output, errors = io.StringIO(), io.StringIO()
    before = signal.getsignal(signal.SIGTERM)
    code: int | str | None = 0
    with (
        mock.patch.dict(os.environ, environment or {}),
        mock.patch.object(sys, "argv", ["reranker", *arguments]),
        redirect_stdout(output),
        redirect_stderr(errors),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        finally:
            signal.signal(signal.SIGTERM, before)
    return subprocess.CompletedProcess(["reranker", *arguments], code if isinstance(code, int) else int(code is not None), output.getvalue(), errors.getvalue())
