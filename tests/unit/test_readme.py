"""What the README shows can be typed as it stands, and what it and the pages below it link to is there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from reranker_distill.recipe import data_file, load_recipe
from tests.served import served
from tests.tiny_bundle import make_tiny_bundle

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "docs" / "experiments.md", ROOT / "docs" / "benchmark.md"]
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines() if line.startswith("reranker ")]
LONG = ("reranker serve", "reranker distill", "reranker demo", "reranker experiment", "reranker benchmark")  # run by tests of their own
CLUSTER = "--opensearch"  # run by the integration tests
SERVICE = "--service"  # run against a service of their own


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "RERANKER_HOME": str(folder / "home")}
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the README's commands name, made from its own examples."""
    folder = tmp_path_factory.mktemp("shop")
    catalog = next(text for kind, text in BLOCKS if kind == "json")
    (folder / "my-products.jsonl").write_text(catalog, encoding="utf-8")
    (folder / "my-judgments.csv").write_text("query,product_id,rating\nrunning shoes,a1,3\nrunning shoes,a2,0\n", encoding="utf-8")
    columns = ("query", "esci_label", "product_id", "product_title", "product_locale")
    rows = [("hose", "E", "B1", "Hose", "us"), ("hose", "I", "B2", "Lamp", "us"), ("hose", "I", "B1", "Schlauch", "de")]
    table = pyarrow.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in rows])
    for name in ("products", "examples"):
        parquet.write_table(table, folder / f"shopping_queries_dataset_{name}.parquet")
    make_tiny_bundle(folder / "runs" / "demo" / "bundle")
    return folder


def test_there_are_commands_to_test() -> None:
    assert len(COMMANDS) >= 10


@pytest.mark.parametrize("command", [c for c in COMMANDS if not c.startswith(LONG) and CLUSTER not in c and SERVICE not in c])
def test_the_command_works(shop: Path, command: str) -> None:
    if "--index shop" in command and not command.startswith("reranker index"):
        assert run(["-m", "reranker", "index", "--catalog", "my-products.jsonl", "--index", "shop"], shop).returncode == 0
    if command.startswith("reranker evaluate") and "--no-embedder" not in command:
        command += " --no-embedder"  # the embedder has a test of its own, and takes long to load
    done = run(["-m", *shlex.split(command)], shop)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith(LONG) or CLUSTER in c])
def test_the_options_of_longer_commands_exist(shop: Path, command: str) -> None:
    words = shlex.split(command)
    command_words = words[1 : next(i for i, word in enumerate([*words, "--"]) if word.startswith("--"))]
    told = run(["-m", "reranker", *command_words, "--help"], shop).stdout
    assert all(word in told for word in words if word.startswith("--"))


def test_the_python_example_works(shop: Path) -> None:
    example = next(text for kind, text in BLOCKS if kind == "python")
    done = run(["-c", example], shop)
    assert done.returncode == 0, done.stderr
    assert "Ranked(" in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_is_linked_exists(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")) if not link.startswith("http")]
    assert links
    assert not [link for link in links if not _exists(page.parent, link)]


def _exists(folder: Path, link: str) -> bool:
    name, _, heading = link.partition("#")
    if not heading or not (folder / name).is_file():
        return (folder / name).exists()
    told = re.findall(r"^#+ (.*)$", (folder / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
    return heading in [re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in told]


@pytest.mark.parametrize("text", [text for kind, text in BLOCKS if kind == "toml"])
def test_the_recipe_examples_are_valid(shop: Path, text: str) -> None:
    (shop / "recipe.toml").write_text(text, encoding="utf-8")
    recipe, path = load_recipe(str(shop / "recipe.toml"))
    assert data_file(recipe.data.catalog, path, "products.jsonl.gz") == shop / "my-products.jsonl"


def test_the_commands_for_a_running_service_work_in_their_order(shop: Path, tmp_path: Path) -> None:
    """As the README has it: one bundle rolled out and gone back from, another tried in the shadow and promoted."""
    commands = [command for command in COMMANDS if SERVICE in command and CLUSTER not in command]
    assert len(commands) >= 5
    for level, name in enumerate(("may", "june", "july"), start=1):
        make_tiny_bundle(tmp_path / "bundles" / name, name=name, level=level)
    (tmp_path / "bundles" / "current").symlink_to(tmp_path / "bundles" / "may")
    folder = str(tmp_path / "bundles")
    with served(tmp_path, "--bundle", f"{folder}/current", "--bundles", folder, "--opensearch", "http://127.0.0.1:9") as service:
        for command in commands:
            done = run(["-m", *shlex.split(command.replace("http://localhost:8000", service.url))], shop)
            assert done.returncode == 0, done.stderr
            assert done.stdout.strip()
        assert service.ask("/bundles")[1]["serving"]["name"] == "july"
