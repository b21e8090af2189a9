"""infinity-emb with the same cross-encoder, in an interpreter of its own: it needs older libraries than ours."""

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

from benchmarks.speed.contenders import infinity_worker
from benchmarks.speed.contenders.checkpoint import Checkpoint, edit_json
from benchmarks.speed.contenders.contender import Contender, Unavailable
from reranker.errors import InputError
from reranker.products import Product
from reranker.text import ProductTemplate, clean

INSTALL = (
    "python3 -m venv infinity && infinity/bin/pip install 'infinity-emb[torch,optimum]==0.0.78' 'optimum[onnxruntime]==1.24.*' "
    "'transformers<4.49' 'torch<2.7' 'datasets<4' 'pyarrow<21', then --infinity-python infinity/bin/python "
    "(it needs sentence-transformers below 4 and numpy below 2, which cannot be installed beside ours)"
)


def check_interpreter(path: Path) -> Path:
    """Return the interpreter that infinity-emb is installed for.

    Raises:
        InputError: it is no program, or has no infinity-emb.
    """
    if not path.is_file() or not os.access(path, os.X_OK):
        raise InputError(f"There is no Python at {path}.", hint=f"Make one: {INSTALL}")
    found = "import importlib.util, sys; sys.exit(importlib.util.find_spec('infinity_emb') is None)"
    try:
        code = subprocess.run([path, "-c", found], capture_output=True, timeout=60, check=False).returncode
    except (OSError, subprocess.TimeoutExpired):
        code = -1
    if code != 0:
        raise InputError(f"{path} is no Python with infinity-emb.", hint=f"Make one: {INSTALL}")
    return path


class Infinity(Contender):
    """``AsyncEmbeddingEngine.rerank``. What it takes to carry a query to the other interpreter and back is not counted.

    Args:
        python: the interpreter to use; None takes this one, where infinity-emb is installed.

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
        self.note = f"{checkpoint.source}; in a process of its own, whose transport is not counted"
        if engine == "optimum":
            onnx = checkpoint.onnx
            self.note += "; this engine of infinity's leaves out token types"
        folder = checkpoint.folder.parent / self.name
        shutil.copytree(checkpoint.folder, folder)
        edit_json(folder / "config.json", sentence_transformers=None)
        if engine == "optimum":
            shutil.copyfile(onnx, folder / onnx.name)  # it looks for the model beside the configuration
            shutil.rmtree(folder / onnx.parent.name)
            # it cuts texts to as many tokens as there are position embeddings; the exported model does not read this number
            edit_json(folder / "config.json", max_position_embeddings=checkpoint.max_length)
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": str(checkpoint.threads)}
        command = [str(python or sys.executable), str(Path(infinity_worker.__file__)), str(folder), engine, str(checkpoint.threads)]
        self._complaints = (checkpoint.folder.parent / f"{self.name}.log").open("w+")
        self._worker = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._complaints, text=True)
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
        self.elsewhere_s = perf_counter() - began - answer["seconds"]
        self.cpu_elsewhere_s = answer["cpu_seconds"]
        return scores

    def _read(self) -> dict[str, Any]:
        assert self._worker.stdout is not None
        line = self._worker.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": self._last_words()}
        if "error" in answer:
            raise Unavailable(f"infinity-emb fails: {answer['error']}. It is known to work so: {INSTALL}")
        return answer

    def _last_words(self) -> str:
        self._complaints.seek(0)
        return (self._complaints.read().strip().splitlines() or ["it ended without a word"])[-1][:300]

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
        self._complaints.close()
