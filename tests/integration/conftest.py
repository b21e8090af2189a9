"""A fixture: the service's container image, built by its script."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

IMAGE = "local/distilled-reranker:latest"
BUILD = Path(__file__).parents[2] / "docker" / "service" / "build.sh"


@pytest.fixture(scope="session")
def service_image() -> str:
    """Name of the image. The script does nothing if the image was already made from the present files."""
    import docker

    try:
        docker.from_env().ping()
    except docker.errors.DockerException as error:
        if os.environ.get("CI"):
            pytest.fail(f"no Docker daemon answers: {error}")
        pytest.skip(f"no Docker daemon answers ({error}); `bash tests/run` sets one up")
    done = subprocess.run(["bash", str(BUILD), IMAGE], env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"the service's image cannot be built:\n{done.stderr[-4_000:]}")
    return IMAGE
