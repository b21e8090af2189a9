"""The structure holds: imports go one way, serving needs no torch, and the wheel works outside the checkout."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRAINING = {"ray", "torch", "transformers", "sentence_transformers", "peft", "optimum", "datasets", "accelerate"}


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield each imported top-level package, and whether the import runs when the file is imported."""

    def visit(node: ast.AST, at_import: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((alias.name.split(".")[0], at_import) for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.module and not child.level:
                yield child.module.split(".")[0], at_import
            elif isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
                continue
            else:
                inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from visit(child, at_import and not inside)

    yield from visit(ast.parse(path.read_text(encoding="utf-8")), True)


def files(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found
    return found


def wrong(package: str, forbidden: set[str], lazily_in: tuple[str, ...] = ()) -> list[str]:
    """Return the forbidden imports of a package; below the folders ``lazily_in``, functions may hold them."""
    return [
        f"{path.relative_to(ROOT)} imports {imported}"
        for path in files(package)
        for imported, at_import in imports(path)
        if imported in forbidden and (at_import or not any(ROOT / folder in path.parents for folder in lazily_in))
    ]


def test_reranker_knows_neither_opensearch_nor_distillation() -> None:
    assert wrong("reranker", {"opensearch", "distill"}, lazily_in=("reranker/cli",)) == []


def test_reranker_needs_no_training_library() -> None:
    """Only comparing with what others offer asks for one, and only when it is asked for."""
    assert wrong("reranker", TRAINING, lazily_in=("reranker/cli", "reranker/evaluation", "reranker/benchmark")) == []


def test_opensearch_knows_neither_training_nor_the_command_line() -> None:
    assert wrong("opensearch", {"distill", *TRAINING}) == []
    assert [str(p) for p in files("opensearch") if "reranker.cli" in p.read_text(encoding="utf-8")] == []


def test_distillation_does_not_know_opensearch() -> None:
    assert wrong("distill", {"opensearch"}) == []


def test_importing_the_package_and_its_command_line_loads_no_heavy_library() -> None:
    heavy = {"distill", "opensearch", "opensearchpy", "matplotlib", *TRAINING}
    code = "import sys, json, reranker, reranker.cli.app; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    loaded = set(json.loads(done.stdout))
    assert "reranker" in loaded
    assert loaded & heavy == set()


@pytest.mark.parametrize("package", ["reranker", "opensearch", "distill"])
def test_no_installed_library_brings_a_package_of_our_name(package: str) -> None:
    """opensearch-py 3 depends on a library whose package is called ``opensearch``, which would hide or mix with ours."""
    owners = set(importlib.metadata.packages_distributions().get(package, []))
    assert owners <= {"distilled-reranker"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, timeout=300, capture_output=True, text=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.slow
def test_the_wheel_holds_code_data_and_licences_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"reranker", "opensearch", "distill"}
    for file in ("products.jsonl.gz", "judgments.csv", "queries.tsv", "LICENCE.md"):
        assert f"reranker/data/icecat/{file}" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert any(name.endswith("licenses/NOTICE") for name in names)
    assert wheel.stat().st_size < 100_000_000


@pytest.mark.slow
def test_the_wheel_works_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), str(wheel)], check=True, timeout=300, capture_output=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    # the installed copy comes first, and the checkout, if it is installed in editable mode, not at all
    start = f"import sys; sys.path[:] = [{str(site)!r}] + [p for p in sys.path if p not in ('', {str(ROOT)!r})]; "
    code = (
        "import json, reranker, opensearch, distill; from reranker.demo_data import demo_file; from reranker.products import read_catalog; "
        "from reranker.embedded import open_or_build; from pathlib import Path; "
        "stage = open_or_build(Path('index').absolute(), None, quiet=True); "
        "print(json.dumps([reranker.__file__, opensearch.__file__, distill.__file__, stage.count(), len(stage.search('laptop', 5))]))"
    )
    done = subprocess.run([sys.executable, "-c", start + code], cwd=elsewhere, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    *places, count, hits = json.loads(done.stdout)
    assert all(place.startswith(str(site)) for place in places)
    assert count > 10_000
    assert hits == 5

    version = subprocess.run(
        [sys.executable, "-c", start + "sys.argv = ['reranker', '--version']; from reranker.cli.app import main; main()"],
        cwd=elsewhere,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert version.stdout.strip() in wheel.name
