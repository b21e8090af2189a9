"""A zero-shot teacher: grades from the token probabilities of a language model behind an endpoint, over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from reranker.errors import RecipeError
from reranker.text import ProductTemplate
from reranker_distill.llm_endpoint import LanguageModelError
from reranker_distill.recipe import Teacher
from reranker_distill.teacher import load_teacher
from reranker_distill.teacher.zero_shot import prepare_zero_shot
from tests.chat_server import ChatServer, Token

SHOP = {str(i): {"id": str(i), "title": title} for i, title in enumerate(["laptop", "laptop bag", "garden hose", "usb hub"])}
PAIRS = [("laptop", SHOP["0"]), ("laptop", SHOP["1"]), ("laptop", SHOP["2"])]


def answer(prompt: str) -> list[Token]:
    if "Product: laptop bag" in prompt:
        return [{" ": 0.9, "1": 0.1}, {"1": 0.6, " 1": 0.1, "2": 0.2, "yes": 0.1}]  # a blank first, as some models do
    return [{"3": 0.8, "2": 0.1, "The": 0.1}] if "Product: laptop" in prompt else [{"0": 0.9, "9": 0.1}]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setattr("time.sleep", lambda s: None)
    with ChatServer(answer) as served:
        yield served


def make(served: ChatServer, folder: Path, **changes: object):
    settings = Teacher(**{"kind": "zero_shot", "model": "tiny-instruct", "endpoint": served.url, **changes})
    (folder / "1-teacher").mkdir(exist_ok=True)
    report = prepare_zero_shot(SHOP, settings, ProductTemplate(), folder / "1-teacher")
    assert report["kind"] == "zero_shot"
    return load_teacher(folder / "1-teacher")


def test_token_probabilities_become_grade_distributions(model: ChatServer, tmp_path: Path) -> None:
    done: list[int] = []
    graded = make(model, tmp_path).distributions(PAIRS, on_pairs=done.append)
    assert graded.dtype == np.float32
    np.testing.assert_allclose(graded, [[0, 0, 1 / 9, 8 / 9], [0, 7 / 9, 2 / 9, 0], [1, 0, 0, 0]], atol=1e-5)
    assert sum(done) == 3


def test_relevance_is_the_expected_grade(model: ChatServer, tmp_path: Path) -> None:
    relevance = make(model, tmp_path).relevance("laptop", [product for _, product in PAIRS])
    np.testing.assert_allclose(relevance, [(2 / 9 + 24 / 9) / 3, (7 / 9 + 4 / 9) / 3, 0], atol=1e-5)


def test_the_model_is_reported_the_grades_names_and_asked_for_probabilities(model: ChatServer, tmp_path: Path) -> None:
    make(model, tmp_path, classes=("Irrelevant", "Complement", "Substitute", "Exact"))
    assert "3: Exact" in model.prompts[0]
    assert (model.bodies[0]["model"], model.bodies[0]["logprobs"], model.bodies[0]["top_logprobs"]) == ("tiny-instruct", True, 20)


def test_a_recipe_may_bring_its_own_question(model: ChatServer, tmp_path: Path) -> None:
    make(model, tmp_path, prompt="Would {query} be served by this? Product: {product}").distributions(PAIRS)
    assert any(text.startswith("Would laptop be served by this? Product: laptop bag") and "0: irrelevant" in text for text in model.prompts)


def test_no_pair_is_paid_for_twice(model: ChatServer, tmp_path: Path) -> None:
    first = make(model, tmp_path).distributions(PAIRS)
    asked = len(model.prompts)
    kept = next(tmp_path.glob("*.jsonl"))
    with kept.open("a") as file:
        file.write('{"model": "tiny-instruct", "id"')  # killed in the middle of a line
    again = make(model, tmp_path)
    np.testing.assert_array_equal(again.distributions([*PAIRS, PAIRS[0]]), [*first, first[0]])
    assert len(model.prompts) == asked
    again.distributions([("usb hub", SHOP["3"])])
    assert make(model, tmp_path).distributions([("usb hub", SHOP["3"])]).shape == (1, 4)
    assert len(model.prompts) == asked + 1
    make(model, tmp_path, model="another").distributions(PAIRS)
    assert len(model.prompts) > asked + 1


def test_answers_that_came_before_a_failure_are_kept(model: ChatServer, tmp_path: Path) -> None:
    teacher = make(model, tmp_path)
    many = [(f"query {i}", SHOP["0"]) for i in range(40)]

    def breaks(done: int) -> None:
        model.failures = 1_000

    with pytest.raises(LanguageModelError, match="503"):
        teacher.distributions(many, on_pairs=breaks)
    model.failures = 0
    came = len(model.prompts)
    make(model, tmp_path).distributions(many)
    assert came > 1
    assert len(set(model.prompts)) == len(model.prompts) == 41


def test_a_moment_s_failure_is_passed_over(model: ChatServer, tmp_path: Path) -> None:
    teacher = make(model, tmp_path)
    model.failures = 3
    assert teacher.distributions(PAIRS).shape == (3, 4)


def test_an_endpoint_without_logprobs_is_found_out_at_once(model: ChatServer, tmp_path: Path) -> None:
    model.logprobs = False
    with pytest.raises(LanguageModelError, match="no token probabilities") as error:
        make(model, tmp_path)
    assert "logprobs" in str(error.value)


def test_a_model_that_thinks_aloud_is_refused(model: ChatServer, tmp_path: Path) -> None:
    model.answer = lambda prompt: [{"<think>": 0.99999, "3": 1e-6}, {"Okay": 1.0}, {",": 1.0}, {"the": 1.0}, {"grade": 1.0}]
    with pytest.raises(LanguageModelError, match="no grade") as error:
        make(model, tmp_path)
    assert "<think>" in str(error.value)
    assert "thinking" in str(error.value)


def test_a_single_answer_without_a_grade_stops_no_run(model: ChatServer, tmp_path: Path) -> None:
    teacher = make(model, tmp_path)
    model.answer = lambda prompt: [{"Sorry": 1.0}] if "query 7\n" in prompt else answer(prompt)
    graded = teacher.distributions([(f"query {i}", SHOP["0"]) for i in range(30)])
    np.testing.assert_allclose(graded[7], [0.25] * 4)
    assert (graded[[i for i in range(30) if i != 7]] != 0.25).all()


def test_the_key_comes_from_the_environment_and_goes_into_no_file(model: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_LLM_KEY", "secret-key")
    make(model, tmp_path, api_key_env="SHOP_LLM_KEY").distributions(PAIRS)
    assert model.keys == {"Bearer secret-key"}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 2
    assert not any("secret-key" in path.read_text() for path in files)
    monkeypatch.delenv("SHOP_LLM_KEY")
    from reranker_distill.teacher.zero_shot import endpoint

    with pytest.raises(RecipeError, match="SHOP_LLM_KEY"):
        endpoint(Teacher(kind="zero_shot", model="m", endpoint=model.url, api_key_env="SHOP_LLM_KEY")).check()


def test_what_is_no_teacher_s_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "teacher.json").write_text(json.dumps({"settings": {}}))
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(RecipeError, match="no teacher"):
            load_teacher(folder)
