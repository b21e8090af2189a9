"""The machine that a benchmark runs on, and the cores it may use."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import Any

from reranker.errors import InputError
from reranker.onnx_model import cores

_LIBRARIES = ("onnxruntime", "tokenizers", "numpy", "tantivy", "sentence-transformers", "torch", "transformers", "optimum-onnx", "FlashRank")


def keep_to(threads: int | None) -> int:
    """Limit this process and its children to a number of cores, where the operating system can; return the number of threads of one run.

    Libraries that choose their own number of threads then get no more cores than the others.

    Raises:
        InputError: the machine has fewer cores.
    """
    if threads is None:
        return cores()
    if not 1 <= threads <= cores():
        raise InputError(f"--threads is {threads}.", hint=f"This process may use {cores()} cores.")
    if hasattr(os, "sched_setaffinity"):
        chosen = sorted(os.sched_getaffinity(0))[:threads]
        os.sched_setaffinity(0, chosen)
        for task in Path("/proc/self/task").glob("*") if Path("/proc/self/task").is_dir() else ():
            with suppress(ProcessLookupError):  # the thread has ended
                os.sched_setaffinity(int(task.name), chosen)  # also threads that libraries started at import, such as numpy's
    return threads


def describe(threads: int) -> dict[str, Any]:
    """Return processor, cores, threads, one-minute load average (None where unknown) and library versions."""
    versions = {}
    for library in _LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "libraries": versions,
    }


def _processor() -> str:
    try:
        told = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if ":" in line)
        return next(value.strip() for key, value in told.items() if key.strip() == "model name")
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
