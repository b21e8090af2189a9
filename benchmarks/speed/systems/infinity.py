"""infinity-emb with the shared cross-encoder, in a separate interpreter because it needs older libraries."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np

from benchmarks.speed.systems import infinity_worker
from benchmarks.speed.systems.shared_checkpoint import Checkpoint, edit_json
from benchmarks.speed.systems.system import System, Unavailable
from reranker.errors import InputError
from reranker.products import Product
from reranker.text import ProductTemplate, clean

INSTALL = (
    "python3 -m venv infinity && infinity/bin/pip install 'infinity-emb[torch,optimum]==0.0.78' 'optimum[onnxruntime]==1.24.*' "
    "'transformers<4.49' 'torch<2.7' 'datasets<4' 'pyarrow<21', then --infinity-python infinity/bin/python "
    "(it needs sentence-transformers below 4 and numpy below 2, which conflict with this project)"
)


def check_interpreter(path: Path) -> Path:
    """Return the interpreter that infinity-emb is installed for.

    Raises:
        InputError: it is not executable, or infinity-emb is not installed there.
    """
    if not path.is_file() or not os.access(path, os.X_OK):
        raise InputError(f"There is no Python at {path}.", hint=f"Make one: {INSTALL}")
    found = "import importlib.util, sys; sys.exit(importlib.util.find_spec('infinity_emb') is None)"
    try:
        code = subprocess.run([path, "-c", found], capture_output=True, timeout=60, check=False).returncode
    except (OSError, subprocess.TimeoutExpired):
        code = -1
    if code != 0:
        raise InputError(f"{path} has no infinity-emb.", hint=f"Make one: {INSTALL}")
    return path


class Infinity(System):
    """``AsyncEmbeddingEngine.rerank``. Transport to the other interpreter and back is not counted.

    Args:
        python: the interpreter; None takes this one, if infinity-emb is installed.

    Raises:
        Unavailable: the library is missing, or fails.
    """

    def __init__(self, checkpoint: Checkpoint, template: ProductTemplate, python: Path | None, *, engine: Literal["torch", "optimum"]) -> None:
        if python is None and importlib.util.find_spec("infinity_emb") is None:
            raise Unavailable(f"infinity-emb is not installed: {INSTALL}")
        self._template = template
        self.name = f"infinity_{engine}"
        self.label = "infinity, torch" if engine == "torch" else "infinity, ONNX"
        self.no_quality = checkpoint.no_quality
        self.note = f"{checkpoint.source}; in a separate process, transport not counted"
        if engine == "optimum":
            onnx = checkpoint.onnx
            self.note += "; this engine leaves out token types"
        folder = checkpoint.folder.parent / self.name
        shutil.copytree(checkpoint.folder, folder)
        edit_json(folder / "config.json", sentence_transformers=None)
        if engine == "optimum":
            shutil.copyfile(onnx, folder / onnx.name)  # the engine expects the model beside the configuration
            shutil.rmtree(folder / onnx.parent.name)
            # the engine truncates texts at this number, which the exported model itself does not read
            edit_json(folder / "config.json", max_position_embeddings=checkpoint.max_length)
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": str(checkpoint.threads)}
        command = [str(python or sys.executable), str(Path(infinity_worker.__file__)), str(folder), engine, str(checkpoint.threads)]
        self._errors = (checkpoint.folder.parent / f"{self.name}.log").open("w+")
        self._worker = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True)
        try:
            self._read()
        except Unavailable:
            self.close()
            raise

    def score(self, query: str, products: Sequence[Product]) -> np.ndarray:
        texts = [self._template.render(product) for product in products]
        query = clean(query)
        began = perf_counter()
        assert self._worker.stdin is not None
        try:
            self._worker.stdin.write(json.dumps({"query": query, "texts": texts}) + "\n")
            self._worker.stdin.flush()
        except OSError as error:
            raise Unavailable(f"infinity-emb ended: {error}") from error
        answer = self._read()
        scores = np.array(answer["scores"], dtype=np.float32)
        self.transport_s = perf_counter() - began - answer["seconds"]
        self.child_cpu_s = answer["cpu_seconds"]
        return scores

    def _read(self) -> dict[str, Any]:
        assert self._worker.stdout is not None
        line = self._worker.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": self._last_error()}
        if "error" in answer:
            raise Unavailable(f"infinity-emb fails: {answer['error']}. A setup that works: {INSTALL}")
        return answer

    def _last_error(self) -> str:
        self._errors.seek(0)
        return (self._errors.read().strip().splitlines() or ["it ended without an error message"])[-1][:300]

    def close(self) -> None:
        if self._worker.stdin is not None:
            self._worker.stdin.close()
        try:
            self._worker.wait(10)
        except subprocess.TimeoutExpired:
            self._worker.kill()
            self._worker.wait()
        if self._worker.stdout is not None:
            self._worker.stdout.close()
        self._errors.close()
