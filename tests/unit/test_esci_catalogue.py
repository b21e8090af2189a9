"""Amazon's ESCI tables as catalogue and judgments."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from reranker.cli.app import app
from reranker.embedded import EmbeddedFirstStage, build_index
from reranker.errors import CatalogError, MissingExtraError, RerankerError
from reranker.products import CatalogProblem, read_catalog
from reranker_distill.inputs import read_inputs
from reranker_distill.recipe import load_recipe
from tests.tiny_bundle import make_tiny_bundle

COLUMNS = ("id", "title", "description", "bullet_point", "brand", "color", "locale")


def products(folder: Path, *rows: tuple[str | None, ...], columns: tuple[str, ...] = COLUMNS) -> Path:
    return table(folder / "shopping_queries_dataset_products.parquet", [{f"product_{c}": v for c, v in zip(columns, row, strict=True)} for row in rows])


def table(path: Path, rows: list[dict[str, Any]]) -> Path:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


HOSE = ("B1", "Garden hose 20 m", "<p>Bends<br>well &amp; lasts</p>", "Light\n5 < 6 kg", "Acme", "Green", "us")
LAMP = ("B2", "Desk lamp", None, None, None, None, "us")
SCHLAUCH = ("B1", "Gartenschlauch", "", "", "Acme", "", "de")


def test_a_row_becomes_a_product_without_html(tmp_path: Path) -> None:
    hose, lamp = read_catalog(products(tmp_path, HOSE, LAMP, SCHLAUCH), locale="us")
    assert hose == {
        "id": "B1",
        "title": "Garden hose 20 m",
        "brand": "Acme",
        "description": "Light 5 < 6 kg Bends well & lasts",
        "attributes": {"colour": "Green"},
    }
    assert (lamp["title"], lamp["description"], lamp["attributes"]) == ("Desk lamp", "", {})


def test_the_catalogue_can_be_searched(tmp_path: Path) -> None:
    build_index(tmp_path / "index", read_catalog(products(tmp_path, HOSE, LAMP)))
    first_stage = EmbeddedFirstStage(tmp_path / "index")
    assert [first_stage.search(query, 5)[0].product_id for query in ("garden hoses", "lasts", "green", "lamp")] == ["B1", "B1", "B1", "B2"]


def test_optional_columns_may_be_missing(tmp_path: Path) -> None:
    assert [p["id"] for p in read_catalog(products(tmp_path, ("B1", "Hose"), columns=("id", "title")))] == ["B1"]


@pytest.mark.parametrize(
    ("rows", "columns", "locale", "told"),
    [
        ([HOSE], COLUMNS, "jp", "no product of the locale jp"),
        ([HOSE, SCHLAUCH], COLUMNS, None, "the same id is on line 1"),
        ([("B1", None)], ("id", "title"), None, "has no 'title'"),
        ([("B1", "x")], ("id", "name"), None, "no column 'product_title'"),
        ([("B1", "x")], ("id", "title"), "us", "no column 'product_locale'"),
    ],
)
def test_what_is_no_catalogue_is_told(tmp_path: Path, rows: list, columns: tuple[str, ...], locale: str | None, told: str) -> None:
    with pytest.raises(CatalogError) as error:
        list(read_catalog(products(tmp_path, *rows, columns=columns), locale=locale))
    assert told in error.value.message
    assert error.value.hint


def test_unusable_rows_can_be_left_out_and_are_named(tmp_path: Path) -> None:
    problems: list[CatalogProblem] = []
    found = list(read_catalog(products(tmp_path, HOSE, ("B9", None, None, None, None, None, "us")), on_problem="skip", problems=problems))
    assert [p["id"] for p in found] == ["B1"]
    assert (problems[0].line, problems[0].product_id) == (2, "B9")


def test_a_file_that_is_not_there_or_no_parquet_is_told(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="no catalogue at"):
        list(read_catalog(tmp_path / "nowhere.parquet"))
    (tmp_path / "text.parquet").write_text("id,title\n")
    with pytest.raises(CatalogError, match="cannot be read"):
        list(read_catalog(tmp_path / "text.parquet"))


def test_pyarrow_is_asked_for_only_where_parquet_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = products(tmp_path, HOSE)
    code = "import sys, reranker, reranker.products, reranker.esci; assert not {'pyarrow', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match="parquet"):
        list(read_catalog(path))


def test_a_recipe_reads_both_tables_of_one_locale(tmp_path: Path) -> None:
    ids = [f"B{i}" for i in range(8)]
    products(tmp_path, *[(i, f"Thing {i}", None, None, None, None, locale) for locale in ("us", "de") for i in ids], (None, None, None, None, None, None, "us"))
    labels = ("Exact", "Irrelevant", "Substitute", "Complement")
    rows = [
        {"query": f"{query} {locale}", "product_id": ids[n], "product_locale": locale, "esci_label": label}
        for locale in ("us", "de")
        for query in ("hose", "lamp", "bag", "hub")
        for n, label in enumerate(labels)
    ]
    table(tmp_path / "examples.parquet", rows)
    data = {"catalog": "shopping_queries_dataset_products.parquet", "judgments": "examples.parquet", "locale": "us", "query_log": ""}
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in data.items())
    (tmp_path / "recipe.toml").write_text(
        f'name = "esci"\n[data]\nfolds = 2\n{lines}[teacher]\nclasses = ["Irrelevant", "Complement", "Substitute", "Exact"]\n'
    )
    recipe, path = load_recipe(str(tmp_path / "recipe.toml"))
    told: list[str] = []
    inputs = read_inputs(recipe, path, told.append)
    assert set(inputs.products) == set(ids)
    assert {j.query for j in inputs.split.train + inputs.split.held_out} == {"hose us", "lamp us", "bag us", "hub us"}
    assert sorted({j.rating for j in inputs.split.train}) == [0, 1, 2, 3]
    assert "1 unusable row" in told[0]


def test_the_commands_take_one_locale_of_the_real_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERANKER_HOME", str(tmp_path / "home"))
    catalogue = products(tmp_path, HOSE, LAMP, SCHLAUCH)
    judged = [("garden hose", "B1", "E", "us"), ("garden hose", "B2", "I", "us"), ("garden hose", "B1", "I", "de")]
    judgments = table(tmp_path / "examples.parquet", [dict(zip(("query", "product_id", "esci_label", "product_locale"), row, strict=True)) for row in judged])
    bundle = make_tiny_bundle(tmp_path / "bundle", words=["garden", "hose"])

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    evaluate = ("evaluate", "--catalog", catalogue, "--judgments", judgments, "--bundle", bundle, "--no-embedder", "--json")
    without = run(*evaluate)
    assert isinstance(without.exception, RerankerError)
    assert "rated 0 for 'garden hose', but 3" in str(without.exception)
    measured = json.loads(run(*evaluate, "--locale", "us").stdout)
    assert (measured["queries"], measured["first_stage"]["products"]) == (1, 2)
    with_index = run("index", "--catalog", catalogue, "--index", "shop", "--json")
    assert "--locale us" in str(getattr(with_index.exception, "hint", ""))
    assert json.loads(run("index", "--catalog", catalogue, "--index", "shop", "--locale", "de", "--json").stdout)["products"] == 1
    assert json.loads(run("vectors", "--catalog", catalogue, "--locale", "us", "--out", tmp_path / "vectors", "--json").stdout)["products"] == 2
    assert isinstance(run(*evaluate, "--locale", "../us").exception, RerankerError)
