"""A recipe's mistakes are told before any work begins."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from distill.recipe import Recipe, load_recipe, shipped_recipes
from reranker.cli import app
from reranker.errors import RecipeError


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_the_shipped_recipes_are_valid(name: str) -> None:
    assert load_recipe(name)[0].name == name


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('name = "x"\n[teacher]\nepoch = 2\n', "teacher.epoch: there is no such key"),
        ('name = "x"\n[teacher]\nlearning_rate = "fast"\n', "teacher.learning_rate"),
        ('name = "x"\n[data]\nfolds = 3\nheld_out_fold = 3\n', "fold 3 of 3"),
        ('name = "x"\n[teacher]\nprompt = "Is {item} right for {query}?"\n', "{product} and {query}"),
        ("name = x\n", "not valid TOML"),
        ("[data]\n", "name"),
    ],
)
def test_a_wrong_recipe_is_told_where_it_is_wrong(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(RecipeError, match="recipe") as error:
        load_recipe(str(write(tmp_path, text)))
    assert told in str(error.value)


def test_a_missing_recipe_names_the_shipped_ones() -> None:
    with pytest.raises(RecipeError, match="demo"):
        load_recipe("nowhere")


def test_the_printed_keys_are_a_valid_recipe_of_defaults(tmp_path: Path) -> None:
    printed = CliRunner().invoke(app, ["distill", "--keys"]).output
    recipe, _ = load_recipe(str(write(tmp_path, printed)))
    assert recipe == Recipe(name="my-shop")
    assert "max_pairs" in printed


def test_files_that_a_recipe_names_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = write(tmp_path, 'name = "x"\n[data]\ncatalog = "nowhere.jsonl"\n')
    result = CliRunner().invoke(app, ["distill", str(recipe)])
    assert isinstance(result.exception, RecipeError)
    assert "nowhere.jsonl" in str(result.exception)
    assert not (tmp_path / "runs").exists()
