"""A finished distillation run of the small recipe, shared by all tests that read one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reranker.demo_data import demo_file
from reranker.judgments import load_judgments
from reranker.products import read_catalog

COMMAND = [sys.executable, "-m", "reranker", "distill"]


@pytest.fixture(scope="session")
def small_recipe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of the small recipe for a sixth of the demo catalogue: the judged products, and every tenth of the others."""
    from reranker_distill.recipe import load_recipe

    folder = tmp_path_factory.mktemp("recipe")
    judged = {judgment.product_id for judgment in load_judgments(demo_file("judgments.csv"))}
    products = [product for n, product in enumerate(read_catalog(demo_file("products.jsonl.gz"))) if product["id"] in judged or n % 10 == 0]
    (folder / "products.jsonl").write_text("".join(json.dumps(product) + "\n" for product in products), encoding="utf-8")
    recipe = folder / "small.toml"
    recipe.write_text(load_recipe("small")[1].read_text(encoding="utf-8") + '\n[data]\ncatalog = "products.jsonl"\n', encoding="utf-8")
    return str(recipe)


@pytest.fixture(scope="session")
def run(small_recipe: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the small recipe that was killed while it was labelling, and then started again."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    first = subprocess.Popen([*COMMAND, small_recipe, "--run", str(folder)], env={**os.environ, "HF_HUB_OFFLINE": "1"})
    deadline = time.monotonic() + 1500
    while not list(folder.glob("3-labels/labels-*.parquet")) and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert (folder / "1-teacher" / "stage.json").exists()
    assert not (folder / "bundle").exists()
    kept = {p.name: p.stat().st_mtime_ns for p in folder.glob("3-labels/labels-*.parquet")}
    assert kept
    again = subprocess.run([*COMMAND, small_recipe, "--run", str(folder)], capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert again.returncode == 0, again.stderr
    assert "1-teacher: done before" in again.stderr
    assert {name: (folder / "3-labels" / name).stat().st_mtime_ns for name in kept} == kept
    return folder
