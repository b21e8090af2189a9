"""A run started as two processes, as ``torchrun`` and ``accelerate launch`` do it: both train the teacher, the first makes the bundle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.distillation.test_without_judgments import KINDS, shop
from tests.tiny_decoder import make_tiny_decoder

pytestmark = pytest.mark.slow
TEACHER = "batch_size = 4\nepochs = 2\nlora_rank = 2\nbf16 = false\nmax_length = 32\ngradient_checkpointing = true\n"


def test_two_processes_train_one_teacher(tmp_path: Path) -> None:
    decoder = make_tiny_decoder(tmp_path / "decoder")
    recipe = shop(tmp_path, f'[embedder]\nmodel = ""\n[teacher]\nmodel = "{decoder}"\n{TEACHER}')
    rows = [f"{kind},B{n},{3 if n % 4 == i else 0},{kind}," for i, kind in enumerate(KINDS) for n in range(16)]
    (tmp_path / "judgments.csv").write_text("\n".join(["query,product_id,rating,intent,votes", *rows]))
    recipe.write_text(recipe.read_text().replace('judgments = ""', 'judgments = "judgments.csv"\nfolds = 2'))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "reranker", "distill", str(recipe), "--json"]  # torchrun takes --run for an option of its own
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}

    def launch() -> dict:
        done = subprocess.run(command, capture_output=True, text=True, timeout=500, env=environment, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout[done.stdout.index('{\n  "recipe"') :])

    report = launch()
    assert report["stages"]["teacher"]["pairs"] == 32
    state = report["stages"]["teacher"]
    assert state["steps"] == 2 * 32 / (4 * 2)  # both share each step
    assert (tmp_path / "runs" / "shop" / "bundle" / "model.onnx").is_file()
    assert launch()["stages"]["teacher"] == state  # done before: the second process is notified, and ends
