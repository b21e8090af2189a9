"""``reranker distill RECIPE --dry-run``: what a run would take, without hub, weights or training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import MistralConfig, PreTrainedTokenizerFast
from typer.testing import CliRunner

from reranker.cli.app import app
from reranker.errors import RecipeError

ROWS = [f"{query},{product},{rating},{query}," for query in ("laptop", "hose", "lamp", "chair") for product, rating in ((1, 3), (2, 0))]


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def mistral(tmp_path: Path) -> Path:
    """A folder with configuration and tokenizer of a Mistral of two layers, and no weights."""
    folder = tmp_path / "mistral"
    MistralConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8
    ).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "</s>": 1, "laptop": 2}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>").save_pretrained(folder)
    return folder


def dry_run(folder: Path, text: str) -> dict:
    (folder / "products.jsonl").write_text("\n".join(json.dumps({"id": str(i), "title": f"Thing {i}"}) for i in range(1, 4)))
    (folder / "judgments.csv").write_text("\n".join(["query,product_id,rating,intent,votes", *ROWS]))
    data = '[data]\ncatalog = "products.jsonl"\njudgments = "judgments.csv"\nquery_log = ""\nfolds = 2\n'
    (folder / "recipe.toml").write_text(f'name = "shop"\n{data}{text}')
    before = sorted(folder.rglob("*"))
    result = CliRunner().invoke(app, ["distill", str(folder / "recipe.toml"), "--dry-run", "--json"])
    if result.exception:
        raise result.exception
    assert sorted(folder.rglob("*")) == before
    return json.loads(result.stdout)


def test_the_teacher_is_built_without_weights_and_counted(tmp_path: Path, mistral: Path) -> None:
    augmentation = "[augmentation]\nlog_queries = 9\ncatalogue_queries = 18\n"
    settings = "batch_size = 1\ngradient_accumulation = 2\nepochs = 3\nlora_rank = 4\n"
    found = dry_run(tmp_path, f'[teacher]\nmodel = "{mistral}"\n{settings}{augmentation}')
    teacher = found["teacher"]
    layer = 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64 + 2 * 32
    adapters = 4 * (2 * (32 + 32) + 2 * (32 + 16) + 3 * (32 + 64))
    assert teacher["parameters"] == 64 * 32 + 2 * layer + 32 + 4 * 32
    assert teacher["trained"] == 2 * adapters + 4 * 32
    assert (teacher["layers"], teacher["width"]) == (2, 32)
    assert (teacher["pairs"], teacher["pairs_a_step"], teacher["steps"]) == (4, 2, 6)
    assert teacher["gigabytes"]["total"] >= teacher["gigabytes"]["activations"]
    assert "Search query:" in teacher["prompt"]
    assert found["judgments"] == {"training": 4, "held_out": 4}
    assert found["pairs_at_most"] == 22 * 16 + 4  # 18 queries, 2 judged ones and a tenth as many misspellings
    assert found["labelling_shards_at_most"] == 1
    assert "not_checked" not in found


def test_the_large_recipe_s_teachers_are_known_without_a_hub() -> None:
    result = CliRunner().invoke(app, ["distill", "llm-7b", "--dry-run", "--json"])
    found = json.loads(result.stdout)
    teacher = found["teacher"]
    assert teacher["parameters"] == pytest.approx(7.1e9, rel=0.02)
    assert teacher["trained"] == 2 * 41_943_040 + 4 * 4_096  # rank 32 on all linear layers, and the classifier
    assert 14 < teacher["gigabytes"]["total"] < 24
    assert "not reached" in teacher["config_from"]
    assert "mistralai/Mistral-7B-v0.3" in found["not_checked"]["teacher.model"]
    assert teacher["steps"] == 97


def test_checkpointing_and_smaller_batches_take_less_memory(tmp_path: Path) -> None:
    def activations(text: str) -> float:
        return dry_run(tmp_path, f'[teacher]\nmodel = "Qwen/Qwen3-8B"\nmax_length = 256\n{text}')["teacher"]["gigabytes"]["activations"]

    plain = activations("batch_size = 8\n")
    assert activations("batch_size = 4\n") == pytest.approx(plain / 2, abs=0.01)
    assert activations("batch_size = 8\ngradient_checkpointing = true\n") < plain / 10


def test_a_model_that_only_the_hub_knows_is_named_and_the_rest_is_checked(tmp_path: Path) -> None:
    found = dry_run(tmp_path, '[teacher]\nmodel = "nobody/unknown-9b"\n[student]\nmodel = "nobody/unknown-small"\n')
    assert set(found["not_checked"]) == {"teacher.model", "student.model"}
    assert "parameters" not in found["teacher"]
    assert found["pairs_at_most"] > 0


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path, mistral: Path) -> None:
    (mistral / "config.json").write_text('{"model_type": "no-such-architecture"}')
    with pytest.raises(RecipeError, match="cannot be built"):
        dry_run(tmp_path, f'[teacher]\nmodel = "{mistral}"\n')
    with pytest.raises(RecipeError, match="no checkpoint folder"):
        dry_run(tmp_path, '[student]\nmodel = "no-such-folder"\n[teacher]\nmodel = "Qwen/Qwen3-8B"\n')


def test_a_zero_shot_teacher_s_prompt_is_shown_and_nobody_is_asked(tmp_path: Path) -> None:
    found = dry_run(tmp_path, '[teacher]\nkind = "zero_shot"\nmodel = "m"\nendpoint = "http://localhost:9/v1"\n')
    assert "Product: Thing 1" in found["teacher"]["prompt"]
    assert "3: exactly right" in found["teacher"]["prompt"]
    assert found["judgments"] == {"training": 0, "held_out": 8}


def test_an_embedder_alone_has_no_teacher(tmp_path: Path) -> None:
    assert "embedder labels alone" in dry_run(tmp_path, "[embedder]\nshare = 1.0\n")["teacher"]["kind"]
