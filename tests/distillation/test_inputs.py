"""Inputs are checked before the run begins, and each error says what to do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from reranker.errors import CatalogError, JudgmentError, RecipeError, RerankerError
from reranker_distill.inputs import check_models_and_disk, read_inputs
from reranker_distill.recipe import load_recipe


def judged(*, good: int = 3, bad: int = 0, good_votes: str = "3 3", bad_votes: str = "0 0") -> list[str]:
    """Four intents of a query each, which has a good and a bad product."""
    both = ((1, good, good_votes), (2, bad, bad_votes))
    return [f"{query},{product},{rating},{query},{votes}" for query in ("laptop", "hose", "lamp", "chair") for product, rating, votes in both]


ROWS = judged()


def shop(folder: Path, *, rows: Sequence[str] = ROWS, products: int = 4, text: str = "", data: str = "", log: str = "query\tcount\nlaptop\t3\n") -> Path:
    catalogue = "\n".join(json.dumps({"id": str(i), "title": f"Thing {i}"}) for i in range(1, products + 1))
    (folder / "products.jsonl").write_text(catalogue, encoding="utf-8")
    (folder / "judgments.csv").write_text("\n".join(["query,product_id,rating,intent,votes", *rows]), encoding="utf-8")
    (folder / "queries.tsv").write_text(log, encoding="utf-8")
    named = '[data]\ncatalog = "products.jsonl"\nquery_log = "queries.tsv"\n' + (data or 'judgments = "judgments.csv"\nfolds = 2\n')
    (folder / "recipe.toml").write_text(f'name = "shop"\n{named}{text}', encoding="utf-8")
    return folder / "recipe.toml"


def read(recipe_file: Path):
    message: list[str] = []
    recipe, path = load_recipe(str(recipe_file))
    return read_inputs(recipe, path, message.append), recipe, "".join(message)


def test_a_good_shop_is_split_by_intent(tmp_path: Path) -> None:
    inputs, _, message = read(shop(tmp_path))
    assert set(inputs.products) == {"1", "2", "3", "4"}
    assert len(inputs.split.train) == len(inputs.split.held_out) == 4
    assert not {j.intent for j in inputs.split.train} & {j.intent for j in inputs.split.held_out}
    assert message == ""


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (judged(bad=1, bad_votes="1"), JudgmentError, "tell rankings apart"),
        (judged(good=2, bad=2, good_votes="", bad_votes=""), RecipeError, "have grade 2"),
        (["a,1,3,a,"], JudgmentError, "1 intents cannot be divided into 2 folds"),
        (judged(good_votes="0 0", bad_votes="3 3"), JudgmentError, "is rated 3, its votes are 0 0"),
        ([row.replace(",1,", ",91,").replace(",2,", ",92,") for row in ROWS], JudgmentError, "catalogue does not hold: 91 (laptop)"),
        ([*ROWS, "x,1,4,x,"], JudgmentError, "rating is '4'"),
        ([*ROWS, "x,1,3,x,7"], JudgmentError, "votes are '7'"),
    ],
)
def test_judgments_that_nothing_could_be_learnt_or_measured_on(tmp_path: Path, rows: list[str], error: type[RerankerError], message: str) -> None:
    with pytest.raises(error) as raised:
        read(shop(tmp_path, rows=rows))
    assert message in raised.value.message
    assert raised.value.hint


@pytest.mark.parametrize(("rows", "message"), [(ROWS, "the rating 3 (product 1 for"), (judged(good=2, good_votes="2 3"), "the vote 3 (product 1 for")])
def test_a_grade_that_no_class_is_named_for(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(RecipeError) as raised:
        read(shop(tmp_path, rows=rows, text='[teacher]\nclasses = ["no", "nearly", "yes"]\n'))
    assert message in raised.value.message
    assert "teacher.classes names 3" in raised.value.message


def test_a_few_ratings_outside_their_votes_are_reported(tmp_path: Path) -> None:
    _, _, message = read(shop(tmp_path, rows=[*ROWS, "usb,3,3,usb,0 0", "tent,3,3,tent,0 0"]))
    assert "is rated 3, its votes are 0 0" in message


def test_a_query_that_is_left_without_products_is_named(tmp_path: Path) -> None:
    inputs, _, message = read(shop(tmp_path, rows=[*ROWS, "lost,99,3,lost,"]))
    assert "lost" not in {j.query for j in inputs.split.train + inputs.split.held_out}
    assert "99 (lost)" in message
    assert "no judged product left: lost" in message


def test_an_empty_catalogue_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="no usable product"):
        read(shop(tmp_path, products=0))


@pytest.mark.parametrize(
    ("text", "log", "message"),
    [
        ("[augmentation]\nlog_queries = 0\ncatalogue_queries = 0\n", "query\tcount\nlaptop\t3\n", "no query"),
        ("[augmentation]\nlog_queries = 10\ncatalogue_queries = 0\n", "query\tcount\n", "no query"),
        ("", "laptop\n", "does not begin with 'query<TAB>count'"),
    ],
)
def test_a_run_that_would_have_nothing_to_label(tmp_path: Path, text: str, log: str, message: str) -> None:
    with pytest.raises(RecipeError) as raised:
        read(shop(tmp_path, log=log, data='judgments = ""\n', text="[embedder]\nshare = 1.0\n" + text))
    assert message in raised.value.message


def test_without_judgments_nothing_is_held_out_and_with_a_zero_shot_teacher_everything_is(tmp_path: Path) -> None:
    inputs, _, _ = read(shop(tmp_path, data='judgments = ""\n', text="[embedder]\nshare = 1.0\n"))
    assert (inputs.judgments, inputs.split.train, inputs.split.held_out) == (None, [], [])
    zero_shot = '[teacher]\nkind = "zero_shot"\nmodel = "m"\nendpoint = "http://localhost:9/v1"\n'
    inputs, _, _ = read(shop(tmp_path, text=zero_shot))
    assert (len(inputs.split.train), len(inputs.split.held_out)) == (0, len(ROWS))


def test_a_missing_endpoint_key_is_an_error_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOP_LLM_KEY", raising=False)
    text = '[teacher]\nkind = "zero_shot"\nmodel = "m"\nendpoint = "http://localhost:9/v1"\napi_key_env = "SHOP_LLM_KEY"\n'
    with pytest.raises(RecipeError, match="SHOP_LLM_KEY"):
        read(shop(tmp_path, text=text))


@pytest.mark.parametrize("key", ["teacher", "student", "embedder"])
def test_a_model_that_cannot_be_had_is_named_by_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.json").write_text("{}")
    for name, message in (
        (str(tmp_path / "half"), "tokenizer_config.json is missing"),
        ("nobody/no-such-model", "hub"),
        ("no-such-model", "no checkpoint folder"),
    ):
        inputs, recipe, _ = read(shop(tmp_path, text=f'[{key}]\nmodel = "{name}"\n'))
        with pytest.raises(RecipeError) as raised:
            check_models_and_disk(recipe, tmp_path / "run", inputs)
        assert f"{key}.model" in raised.value.message
        assert message in raised.value.message


def test_a_disk_that_is_too_full_is_reported_with_need_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, recipe, _ = read(shop(tmp_path))
    monkeypatch.setattr("reranker_distill.disk_space.shutil.disk_usage", lambda path: SimpleNamespace(free=2e8))
    with pytest.raises(RerankerError, match=r"needs about \d\.\d GB in .*run, and that disk has 0\.2 GB free"):
        check_models_and_disk(recipe, tmp_path / "run", inputs)
    monkeypatch.undo()
    check_models_and_disk(recipe, tmp_path / "run", inputs)


def test_a_teacher_from_the_hub_counts_by_its_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, recipe, _ = read(shop(tmp_path, text='[teacher]\nmodel = "somebody/seven-billion"\n'))
    monkeypatch.setattr("reranker_distill.inputs.check_checkpoint", lambda name, key: None)  # a hub that gives it
    monkeypatch.setattr("reranker_distill.teacher.architecture.architecture", lambda settings, models: SimpleNamespace(parameters=7_000_000_000))
    monkeypatch.setattr("reranker_distill.disk_space.shutil.disk_usage", lambda path: SimpleNamespace(free=9e9))
    with pytest.raises(RerankerError, match=r"needs about 1\d\.\d GB in .*run, and that disk has 9\.0 GB free"):
        check_models_and_disk(recipe, tmp_path / "run", inputs)


def test_a_resumed_run_does_not_need_the_space_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, recipe, _ = read(shop(tmp_path))
    monkeypatch.setattr("reranker_distill.disk_space.shutil.disk_usage", lambda path: SimpleNamespace(free=2e8))
    check_models_and_disk(recipe, tmp_path / "run", inputs, resumes=True)


def encoder(folder: Path, architecture: str = "BertModel", *, weights: bool = True) -> Path:
    config = {"model_type": "bert", "architectures": [architecture], "num_hidden_layers": 6, "hidden_size": 384, "num_attention_heads": 12}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer_config.json", "tokenizer.json", *(["model.safetensors"] if weights else [])):
        (folder / name).write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[student]\nlayers = 12\n", "student has layers = 12; {model} has 6"),
        ('[student]\nlayers = 2\narchitecture = "bi_encoder"\n[[variants]]\nname = "fast"\nquery_encoder_of = "student"\nlayers = 3\n', "fast has layers = 3"),
        ('[[variants]]\nname = "small"\nlayers = 7\n', "variant small has layers = 7"),
        ('[likelihood]\nmodel = "{model}"\n', "BertModel, which is no language model"),
    ],
)
def test_a_student_with_too_few_layers_and_a_language_model_that_is_none_are_refused(tmp_path: Path, text: str, message: str) -> None:
    model = str(encoder(tmp_path / "encoder"))
    text = text.replace("{model}", model)
    student = text if text.startswith("[student]") else "[student]\n" + text
    recipe_file = shop(
        tmp_path,
        text=student.replace("[student]\n", f'[student]\nmodel = "{model}"\n') + f'[teacher]\nmodel = "{model}"\n[embedder]\nmodel = "{model}"\nshare = 0.5\n',
    )
    inputs, recipe, _ = read(recipe_file)
    with pytest.raises(RecipeError) as raised:
        check_models_and_disk(recipe, tmp_path / "run", inputs)
    assert message.replace("{model}", model) in raised.value.message


def test_a_model_s_folder_without_weights(tmp_path: Path) -> None:
    model = encoder(tmp_path / "encoder", weights=False)
    inputs, recipe, _ = read(shop(tmp_path, text=f'[teacher]\nmodel = "{model}"\n'))
    with pytest.raises(RecipeError, match="holds no weights"):
        check_models_and_disk(recipe, tmp_path / "run", inputs)


def test_a_query_log_in_another_encoding(tmp_path: Path) -> None:
    recipe_file = shop(tmp_path)
    (tmp_path / "queries.tsv").write_bytes("query\tcount\ncafé\t3\n".encode("latin-1"))
    with pytest.raises(RecipeError, match="UTF-8"):
        read(recipe_file)
