"""Mistakes in a recipe are reported before the run begins."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from reranker.cli.app import app
from reranker.errors import RecipeError
from reranker_distill.recipe import Recipe, load_recipe, shipped_recipes


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_the_shipped_recipes_are_valid(name: str) -> None:
    assert load_recipe(name)[0].name == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "x"\n[teacher]\nepoch = 2\n', "teacher.epoch: there is no such key"),
        ('name = "x"\n[teacher]\nlearning_rate = "fast"\n', "teacher.learning_rate"),
        ('name = "x"\n[data]\nfolds = 3\nheld_out_fold = 3\n', "fold 3 of 3"),
        ('name = "x"\n[teacher]\nprompt = "Is {item} right for {query}?"\n', "{product} and {query}"),
        ('name = "x"\n[data]\nfolds = 1\n', "data: folds = 1 holds nothing out"),
        ('name = "x"\n[data]\njudgments = ""\n', 'data.judgments = "" needs a teacher without judgments'),
        ('name = "x"\n[data]\njudgments = ""\n[embedder]\nmodel = ""\nshare = 1.0\n', 'data.judgments = "" needs a teacher without judgments'),
        ('name = "x"\n[teacher]\nkind = "few_shot"\n', "'fine_tuned' or 'zero_shot'"),
        ('name = "x"\n[teacher]\nkind = "zero_shot"\nmodel = "m"\n', "needs endpoint"),
        ('name = "x"\n[teacher]\nkind = "zero_shot"\nendpoint = "http://localhost:8000/v1"\n', "needs model"),
        ('name = "x"\n[teacher]\nkind = "zero_shot"\nmodel = "m"\nendpoint = "http://h/v1"\nepochs = 3\nlora_rank = 8\n', "epochs, lora_rank"),
        ('name = "x"\n[teacher]\nendpoint = "http://localhost:8000/v1"\n', 'kind = "zero_shot" alone'),
        ('name = "x"\n[teacher]\nclasses = ["no", "No "]\n', "a name of its own"),
        ('name = "x"\n[teacher]\nclasses = ["no"]\n', "teacher.classes"),
        ('name = "x"\n[[variants]]\nname = "quick"\nlayers = 2\nquery_encoder_of = "student"\n', "names no bi_encoder above it"),
        ('name = "x"\n[student]\narchitecture = "bi_encoder"\n[[variants]]\nname = "quick"\nquery_encoder_of = "student"\n', "needs layers"),
        ('name = "x"\n[student]\nwidth = 128\n', "student.width: there is no such key (misspelt, or removed"),
        ('name = "x"\n[[ladder]]\nname = "fast"\n', "ladder: there is no such key"),
        ('name = "x"\n[[variants]]\nname = "both"\nduet = ["a", "b"]\n', "variants.0.duet: there is no such key"),
        ('name = "x"\n[likelihood]\nmodel = "m"\n[embedder]\nshare = 0.0\n', "likelihood adjusts the embedder's scores"),
        ("name = x\n", "not valid TOML"),
        ("[data]\n", "name"),
    ],
)
def test_a_wrong_recipe_is_reported_where_it_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match="recipe") as error:
        load_recipe(str(write(tmp_path, text)))
    assert message in str(error.value)


NO_JUDGMENTS = 'name = "x"\n[data]\njudgments = ""\n'


@pytest.mark.parametrize(
    "text",
    [
        NO_JUDGMENTS + "[embedder]\nshare = 1.0\n",
        NO_JUDGMENTS + "folds = 1\n[embedder]\nshare = 1.0\n",
        NO_JUDGMENTS + '[teacher]\nkind = "zero_shot"\nmodel = "m"\nendpoint = "http://localhost:8000/v1"\n',
    ],
)
def test_judgments_may_be_left_out_where_nothing_is_trained_on_them(tmp_path: Path, text: str) -> None:
    assert not load_recipe(str(write(tmp_path, text)))[0].learns_from_judgments


def test_a_whole_message_names_no_key_twice(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as error:
        load_recipe(str(write(tmp_path, NO_JUDGMENTS)))
    assert "Value error" not in str(error.value)
    assert "\n  data.judgments" in str(error.value)


def test_gemma_s_terms_are_given_for_gemma_alone(tmp_path: Path) -> None:
    def recipe(text: str) -> Recipe:
        return load_recipe(str(write(tmp_path, text)))[0]

    assert "Gemma Terms of Use" in recipe('name = "x"\n').notice
    mistral = "mistralai/Mistral-7B-v0.3"
    other = recipe(f'name = "x"\nlicences = {{"{mistral}" = "Apache-2.0"}}\n[teacher]\nmodel = "{mistral}"\n')
    assert (other.notice, other.licence_of(mistral)) == ("", "Apache-2.0")
    assert other.licence_of("org/model") == "see its model card"
    alone = recipe('name = "x"\n[embedder]\nshare = 1.0\n')
    assert alone.notice == ""
    likely = recipe('name = "x"\n[embedder]\nshare = 1.0\n[likelihood]\nmodel = "gemma-3-270m"\n')
    assert (likely.notice, likely.licence_of("gemma-3-270m")) == (recipe('name = "x"\n').notice, "Gemma Terms of Use")


def test_the_large_recipe_is_the_demo_s_with_other_values(tmp_path: Path) -> None:
    demo, large = load_recipe("demo")[0], load_recipe("llm-7b")[0]
    assert (large.data, large.template, large.gate, large.seed) == (demo.data, demo.template, demo.gate, demo.seed)
    assert large.teacher.lora_rank > 0
    assert large.teacher.load_dtype == "bfloat16"
    assert large.teacher.gradient_accumulation > 1
    assert large.embedder.share < demo.embedder.share


def test_a_missing_recipe_names_the_shipped_ones() -> None:
    with pytest.raises(RecipeError, match="demo"):
        load_recipe("nowhere")


def test_the_printed_keys_are_a_valid_recipe_of_defaults(tmp_path: Path) -> None:
    printed = CliRunner().invoke(app, ["distill", "--keys"]).output
    recipe, _ = load_recipe(str(write(tmp_path, printed)))
    assert recipe == Recipe(name="my-shop")
    assert "max_pairs" in printed
    assert "query_encoder_of" in printed
    assert len(printed.splitlines()) <= 55, "the keys fit one screen"


def test_files_that_a_recipe_names_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = write(tmp_path, 'name = "x"\n[data]\ncatalog = "nowhere.jsonl"\n')
    result = CliRunner().invoke(app, ["distill", str(recipe)])
    assert isinstance(result.exception, RecipeError)
    assert "nowhere.jsonl" in str(result.exception)
    assert not (tmp_path / "runs").exists()


def test_a_recipe_extends_another(tmp_path: Path) -> None:
    demo = load_recipe("demo")[0]
    write(tmp_path, 'name = "shop"\nextends = "demo"\n[data]\ncatalog = "mine.jsonl"\nquery_log = ""\n[student]\nepochs = 7\n')
    shop = load_recipe(str(tmp_path / "recipe.toml"))[0]
    assert (shop.name, shop.data.catalog, shop.data.query_log, shop.student.epochs) == ("shop", "mine.jsonl", "", 7)
    assert shop.student == demo.student.model_copy(update={"epochs": 7})
    assert shop.data.folds == demo.data.folds
    assert (shop.teacher, shop.likelihood, shop.augmentation, shop.variants) == (demo.teacher, demo.likelihood, demo.augmentation, demo.variants)

    (tmp_path / "below").mkdir()
    other = tmp_path / "below" / "other.toml"
    variants = '[[variants]]\nname = "fast"\nlayers = 2\n[[variants]]\nname = "slow"\n'
    other.write_text(f'name = "other"\nextends = "../recipe.toml"\n{variants}', encoding="utf-8")
    below = load_recipe(str(other))[0]
    assert below.data.catalog == str(tmp_path.resolve() / "mine.jsonl"), "a base's files stay where they are"
    assert [(variant.name, variant.layers, variant.query_encoder_of) for variant in below.variants] == [("fast", 2, None), ("slow", None, None)]
    other.write_text('name = "other"\nextends = "../recipe.toml"\nvariants = []\n', encoding="utf-8")
    assert not load_recipe(str(other))[0].variants


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ('"nowhere"', "There is no recipe nowhere"),
        ('"recipe.toml"', "extends itself"),
        ('"../{folder}/recipe.toml"', "extends itself"),
        ("3", "extends: a recipe's name or path"),
        ('"demo"\n[student]\nepoch = 1', "student.epoch: there is no such key"),
    ],
)
def test_a_recipe_that_cannot_extend_another_is_reported(tmp_path: Path, base: str, message: str) -> None:
    path = write(tmp_path, f'name = "x"\nextends = {base.format(folder=tmp_path.name)}\n')
    with pytest.raises(RecipeError) as error:
        load_recipe(str(path))
    assert message in str(error.value)
