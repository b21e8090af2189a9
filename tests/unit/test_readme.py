"""What the README, the tutorial and the guides show can be typed as it stands, and every link leads somewhere."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pytest
import typer
from pyarrow import parquet

from reranker import errors
from reranker.bundle import load_bundle
from reranker.cli.app import app
from reranker.judgments import load_judgments
from reranker.products import read_catalog
from reranker_distill.augmentation import read_query_log
from reranker_distill.recipe import data_file, load_recipe
from tests.commands import run_command
from tests.pages import DOCS, PAGES, README, ROOT, blocks, commands, leads_somewhere, lines, links, name_of
from tests.served import served
from tests.tiny_bundle import make_tiny_bundle

pytestmark = pytest.mark.slow

TUTORIAL = DOCS / "tutorial.md"
ROLLOUT = DOCS / "guides" / "rollout.md"
RECIPES = [TUTORIAL, DOCS / "guides" / "distillation.md"]
LONG = ("reranker serve", "reranker distill", "reranker demo", "reranker --install-completion", "reranker benchmark")  # run by tests of their own
CLUSTER = "--opensearch"  # run by the integration tests
SERVICE = "--service"  # run against a service of their own
ALL_COMMANDS = [(page, command) for page in PAGES for command in commands(page)]
SHORT_COMMANDS = list(
    dict.fromkeys(
        command
        for page, command in ALL_COMMANDS
        if page != TUTORIAL and not command.startswith(LONG) and CLUSTER not in command and SERVICE not in command and " bundles/" not in command
    )
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, embedded_index: Path) -> Path:
    """A folder of embedded indexes that has the demo catalogue's."""
    folder = tmp_path_factory.mktemp("home")
    shutil.copytree(embedded_index, folder / "products")
    return folder


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the pages' commands name, made from the pages' own examples."""
    folder = tmp_path_factory.mktemp("shop")
    write_examples(folder)
    columns = ("query", "esci_label", "product_id", "product_title", "product_locale")
    rows = [("hose", "E", "B1", "Hose", "us"), ("hose", "I", "B2", "Lamp", "us"), ("hose", "I", "B1", "Schlauch", "de")]
    table = pyarrow.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in rows])
    for name in ("products", "examples"):
        parquet.write_table(table, folder / f"shopping_queries_dataset_{name}.parquet")
    make_tiny_bundle(folder / "runs" / "demo" / "bundle")
    return folder


def write_examples(folder: Path) -> None:
    """Write the tutorial's examples of a catalogue, judgments, a query log and a recipe as the files that it names."""
    for kind, name in (("json", "my-products.jsonl"), ("csv", "my-judgments.csv"), ("tsv", "my-queries.tsv"), ("toml", "my-shop.toml")):
        (folder / name).write_text(blocks(TUTORIAL, kind)[0], encoding="utf-8")


def reranker(command: str, folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a command of ``reranker`` in the folder, let it succeed, and return what it printed."""
    monkeypatch.chdir(folder)
    done = run_command(*shlex.split(command)[1:], environment={"RERANKER_HOME": str(home)})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readme_is_short_and_keeps_its_two_commands() -> None:
    assert README.stat().st_size < 8_192
    assert "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/reranker demo" in lines(README)
    assert "bash tests/run" in lines(README)


def test_there_are_commands_to_test() -> None:
    assert len(ALL_COMMANDS) >= 60
    assert len(SHORT_COMMANDS) >= 12


@pytest.mark.slow
@pytest.mark.parametrize("command", SHORT_COMMANDS)
def test_the_command_works(shop: Path, home: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    if "--index shop" in command and not command.startswith("reranker index"):
        reranker("reranker index --catalog my-products.jsonl --index shop", shop, home, monkeypatch)
    if "--vectors vectors" in command:
        reranker("reranker vectors --catalog my-products.jsonl --out vectors", shop, home, monkeypatch)
    if command.startswith("reranker evaluate"):
        command += " --no-embedder"  # the embedder has a test of its own, and takes long to load
        if "--catalog" not in command:  # the demo's judgments take minutes
            command += " --catalog my-products.jsonl --judgments my-judgments.csv"
    if command.startswith("reranker vectors") and "--catalog" not in command:  # the demo catalogue's take minutes
        command += " --catalog my-products.jsonl"
    assert reranker(command, shop, home, monkeypatch).strip()


@pytest.mark.parametrize(("page", "command"), [pytest.param(page, command, id=f"{name_of(page)}: {command}") for page, command in ALL_COMMANDS])
def test_the_options_exist(page: Path, command: str) -> None:
    known, path = typer.main.get_command(app), ["reranker"]
    words = shlex.split(command)[1:]
    while words and hasattr(known, "commands") and not words[0].startswith("-"):
        assert words[0] in known.commands, f"{' '.join(path)} has no subcommand {words[0]}"
        known, path = known.commands[words[0]], [*path, words.pop(0)]
    options = {option for parameter in known.params for option in [*parameter.opts, *parameter.secondary_opts]}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= options


@pytest.mark.parametrize("page", [README, DOCS / "reference" / "python.md"], ids=name_of)
def test_the_python_example_works(shop: Path, page: Path) -> None:
    done = subprocess.run([sys.executable, "-c", blocks(page, "python")[0]], cwd=shop, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "Ranked(" in done.stdout


@pytest.mark.parametrize(("page", "text"), [pytest.param(page, text, id=name_of(page)) for page in RECIPES for text in blocks(page, "toml")])
def test_the_recipe_examples_are_valid(shop: Path, page: Path, text: str) -> None:
    (shop / "recipe.toml").write_text(text, encoding="utf-8")
    recipe, path = load_recipe(str(shop / "recipe.toml"))
    assert data_file(recipe.data.catalog, path, "products.jsonl.gz") == shop / "my-products.jsonl"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_is_linked_exists(page: Path) -> None:
    assert [link for link in links(page) if not leads_somewhere(page, link)] == []


def test_every_error_is_explained() -> None:
    known = {name for name, error in inspect.getmembers(errors, inspect.isclass) if issubclass(error, errors.RerankerError)}
    told = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    assert {name for name in known if name not in told} == {"RerankerError"}


def test_the_glossary_names_what_the_code_has() -> None:
    names = re.findall(r"`([A-Z][A-Za-z]+)`", (DOCS / "glossary.md").read_text(encoding="utf-8"))
    code = "".join(path.read_text(encoding="utf-8") for folder in ("reranker", "distill", "opensearch") for path in (ROOT / folder).rglob("*.py"))
    assert len(names) >= 10
    assert [name for name in names if not re.search(rf"^(class )?{name}\b", code, flags=re.MULTILINE)] == []


def test_the_examples_of_files_can_be_read(tmp_path: Path) -> None:
    write_examples(tmp_path)
    assert [product["id"] for product in read_catalog(tmp_path / "my-products.jsonl")] == ["a1", "a2"]
    assert [judgment.rating for judgment in load_judgments(tmp_path / "my-judgments.csv")] == [3, 0]
    assert len(read_query_log(tmp_path / "my-queries.tsv")) == 2


def test_the_demo_files_can_stand_in_for_ones_own(tmp_path: Path) -> None:
    """As the tutorial offers where there is no catalogue at hand."""
    done = subprocess.run([sys.executable, "-c", blocks(TUTORIAL, "python")[0]], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my-judgments.csv", "my-products.jsonl", "my-queries.tsv"]
    assert load_judgments(tmp_path / "my-judgments.csv")
    assert len(read_query_log(tmp_path / "my-queries.tsv")) > 100


def typed(page: Path) -> Iterator[str]:
    """Yield the page's lines that need neither the network, nor a running service, nor a training."""
    for line in lines(page):
        if not line.startswith(("python3 -m venv", "pip ", "curl ", "export ", "reranker serve", "reranker demo")) and SERVICE not in line:
            yield line


@pytest.mark.slow
def test_the_tutorial_can_be_typed_from_beginning_to_end(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the distillation, in whose place the shipped bundle is copied to where a run leaves its own."""
    write_examples(tmp_path)
    to_type = [line for line in typed(TUTORIAL) if not line.startswith("mkdir -p my-shop")]
    assert len(to_type) >= 15
    for line in to_type:
        if line.startswith("reranker distill"):
            shutil.copytree(load_bundle().path, tmp_path / "runs" / "my-shop" / "bundle", dirs_exist_ok=True)
        elif line.startswith("reranker "):
            command, _, file = line.partition(" > ")
            if command.startswith("reranker evaluate"):
                command += " --no-embedder"
            printed = reranker(command, tmp_path, home, monkeypatch)
            if file:
                assert json.loads(printed)["results"]
        else:
            subprocess.run(["bash", "-c", line], cwd=tmp_path, check=True, timeout=60)
    assert (tmp_path / "bundles" / "current").resolve() == tmp_path / "bundles" / "may"
    assert any((tmp_path / "vectors").iterdir())
    assert len((tmp_path / "keys.txt").read_text().strip()) >= 16


@pytest.mark.slow
@pytest.mark.parametrize(("page", "serves"), [(ROLLOUT, "july"), (TUTORIAL, "may")], ids=lambda value: name_of(value) if isinstance(value, Path) else value)
def test_the_commands_for_a_running_service_work_in_their_order(page: Path, serves: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the pages have it: bundles are rolled out, tried in the shadow, promoted and gone back from."""
    service_commands = [command for command in commands(page) if SERVICE in command and CLUSTER not in command]
    assert len(service_commands) >= 4
    for level, name in enumerate(("may", "june", "july"), start=1):
        make_tiny_bundle(tmp_path / "bundles" / name, name=name, level=level)
    (tmp_path / "bundles" / "current").symlink_to(tmp_path / "bundles" / "may")
    folder = str(tmp_path / "bundles")
    with served(tmp_path, "--bundle", f"{folder}/current", "--bundles", folder, "--opensearch", "http://127.0.0.1:9") as service:
        for command in service_commands:
            assert reranker(command.replace("http://localhost:8000", service.url), tmp_path, home, monkeypatch).strip()
        assert service.ask("/bundles")[1]["serving"]["name"] == serves
