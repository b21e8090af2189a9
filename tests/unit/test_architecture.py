"""The packages import each other in one direction only, serving needs no torch, and the wheel works outside the checkout."""

from __future__ import annotations

import ast
import graphlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"reranker": "reranker", "reranker_opensearch": "opensearch/reranker_opensearch", "reranker_distill": "distill/reranker_distill"}
TRAINING = {"ray", "torch", "transformers", "sentence_transformers", "peft", "optimum", "datasets", "accelerate"}
OUTSIDE_THE_WHEEL = {"benchmarks", "tests"}


def modules() -> dict[str, Path]:
    """Return the modules of the wheel by name."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join([package, *parts]).removesuffix(".__init__")] = path
    assert len(found) > 100
    return found


MODULES = modules()


def imported_by(path: Path) -> set[str]:
    """Return the full names of everything that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{path} has a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


IMPORTS = {name: imported_by(path) for name, path in MODULES.items()}


def importers(package: str, forbidden: set[str]) -> set[str]:
    """Return the modules of a package that import one of the forbidden top-level packages."""
    return {name for name, imported in IMPORTS.items() if name.split(".")[0] == package and forbidden & {one.split(".")[0] for one in imported}}


def test_reranker_imports_neither_opensearch_nor_distillation() -> None:
    assert importers("reranker", {"reranker_opensearch", "reranker_distill", "opensearchpy"}) == set()


def test_reranker_imports_no_training_library_but_for_the_embedder_it_is_compared_with() -> None:
    assert importers("reranker", TRAINING) == {"reranker.evaluation.embedder"}
    libraries = {one.split(".")[0] for one in IMPORTS["reranker.evaluation.embedder"]}
    assert libraries & TRAINING == {"sentence_transformers"}


def test_opensearch_and_distillation_do_not_import_each_other() -> None:
    assert importers("reranker_opensearch", {"reranker_distill", *TRAINING}) == set()
    assert importers("reranker_distill", {"reranker_opensearch", "opensearchpy"}) == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_in_the_wheel_imports_what_stays_outside(package: str) -> None:
    assert importers(package, OUTSIDE_THE_WHEEL) == set()


def test_only_subcommands_import_the_command_line() -> None:
    users = {name for name, imported in IMPORTS.items() if any(one.startswith("reranker.cli") for one in imported)}
    allowed = ("reranker.cli.", "reranker_opensearch.commands.", "reranker_distill.commands.", "reranker.__main__")
    assert {name for name in users if not name.startswith(allowed)} == set()


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {}
    for name, imported in IMPORTS.items():
        targets = {one if one in MODULES else one.rpartition(".")[0] for one in imported}
        graph[name] = (targets & MODULES.keys()) - {name}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_the_command_line_starts_without_heavy_libraries() -> None:
    heavy = {"fastapi", "matplotlib", "onnxruntime", "opensearchpy", "tantivy", "tokenizers", *TRAINING}
    code = "import sys, json, reranker.cli.app; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    loaded = set(json.loads(done.stdout))
    assert "reranker" in loaded
    assert loaded & heavy == set()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, timeout=300, capture_output=True, text=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel installed."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), str(wheel)]
    subprocess.run(command, check=True, timeout=300, capture_output=True)
    return folder


def run_installed(site: Path, folder: Path, code: str) -> str:
    """Run code with the installed wheel and the libraries of this environment, but without the checkout; return its output."""
    checkout = [str(ROOT), str(ROOT / "distill"), str(ROOT / "opensearch")]
    start = f"import sys; sys.path[:] = [{str(site)!r}] + [p for p in sys.path if p not in ('', *{checkout!r})]\n"
    done = subprocess.run([sys.executable, "-c", start + code], cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_holds_our_packages_data_and_licences_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == set(PACKAGES)
    for file in ("products.jsonl.gz", "judgments.csv", "queries.tsv", "LICENCE.md"):
        assert f"reranker/data/icecat/{file}" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert any(name.endswith("licenses/NOTICE") for name in names)
    assert wheel.stat().st_size < 100_000_000


@pytest.mark.slow
def test_beside_opensearch_py_3_no_module_of_ours_is_called_opensearch_or_distill(site: Path, tmp_path: Path) -> None:
    code = """
import json, opensearchpy, reranker_opensearch.connection
from importlib.util import find_spec
found = [find_spec(name) for name in ("opensearch", "distill")]
places = [[spec.origin, *(spec.submodule_search_locations or [])] for spec in found if spec]
print(json.dumps([opensearchpy.__versionstr__, reranker_opensearch.__file__, places]))
"""
    version, ours, places = json.loads(run_installed(site, tmp_path, code))
    assert version.startswith("3.")
    assert ours.startswith(str(site))
    ours_too = [site, ROOT / "opensearch", ROOT / "distill"]
    assert not any(Path(place).is_relative_to(folder) for spec in places for place in spec if place for folder in ours_too)


@pytest.mark.slow
def test_the_wheel_works_outside_the_checkout(site: Path, wheel: Path, tmp_path: Path) -> None:
    code = """
import json, reranker, reranker_opensearch, reranker_distill
from pathlib import Path
from reranker.embedded import open_or_build_demo
stage = open_or_build_demo(Path("index").absolute(), quiet=True)
print(json.dumps([reranker.__file__, reranker_opensearch.__file__, reranker_distill.__file__, stage.count(), len(stage.search("laptop", 5))]))
"""
    *places, count, hits = json.loads(run_installed(site, tmp_path, code))
    assert all(place.startswith(str(site)) for place in places)
    assert count > 10_000
    assert hits == 5
    version = run_installed(site, tmp_path, "sys.argv = ['reranker', '--version']\nfrom reranker.cli.app import main\nmain()")
    assert version.strip() in wheel.name
