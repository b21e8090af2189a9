"""Queries that a language model writes, through an endpoint that speaks OpenAI's protocol."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from reranker.embedded import EmbeddedFirstStage, build_index
from reranker.errors import RecipeError
from reranker.judgments import Judgment
from reranker.text import ProductTemplate
from reranker_distill.augmentation import augment
from reranker_distill.augmentation.generated_queries import generated_queries, parse_answer
from reranker_distill.llm_endpoint import Endpoint, LanguageModelError
from reranker_distill.recipe import Augmentation, load_recipe

SHOP = {
    str(i): {"id": str(i), "title": title, "brand": "Acme"}
    for i, title in enumerate(
        [
            "Acme laser printer",
            "Acme office printer",
            "Acme photo printer",
            "Acme label printer",
            "Acme toner cartridge",
            "Acme drum unit",
            "Acme notebook",
            "Acme notebook case",
        ]
    )
}


class Model:
    """A language model that says what it is told to."""

    def __init__(self, answer: str):
        self.answer, self.failures, self.asked, self.keys = answer, 0, [], set()
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                model.keys.add(self.headers.get("Authorization"))
                status = 503 if model.failures > 0 else 200 if self.path == "/v1/chat/completions" else 404
                model.failures -= status == 503
                if status == 200:
                    model.asked.append(body["messages"][-1]["content"])
                payload = json.dumps({"choices": [{"message": {"role": "assistant", "content": model.answer}}]}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def model():
    served = Model('Sure!\n["Laser Printer", "printer for home office", "acme toner", "notebook", "laptpo", "notbook bag", "quantum vortals"]')
    yield served
    served.server.shutdown()
    served.server.server_close()


def settings(model: Model, **changes) -> Augmentation:
    return Augmentation(**{"llm_queries": 3, "llm_endpoint": model.url, "llm_model": "tiny", "log_queries": 0, "catalogue_queries": 0, **changes})


def test_the_model_s_queries_become_pairs_with_the_product_they_were_written_for(model, tmp_path: Path) -> None:
    build_index(tmp_path / "index", SHOP.values())
    pairs = augment(
        judged=[Judgment("drum", "5", 3, "drum", ())],
        held_out=[Judgment("notebook", "6", 3, "laptop", ())],
        query_log=[],
        products=SHOP,
        first_stage=EmbeddedFirstStage(tmp_path / "index"),
        settings=settings(model, llm_queries=50),
        seed=1,
        folder=tmp_path,
    )
    queries = {p.query for p in pairs if p.source.startswith("llm/")}
    assert queries == {"laser printer", "acme toner"}  # the others are held out, misspell what is, or cannot be answered
    assert {p.source for p in pairs if p.query in queries} >= {"llm/its product", "llm/rank 1"}
    assert any("Acme notebook case" in text for text in model.asked)


def test_only_as_many_products_are_asked_about_as_are_needed(model) -> None:
    many = {str(i): {"id": str(i), "title": f"Thing {i}"} for i in range(500)}
    written = generated_queries(many, settings(model), template=ProductTemplate(), seed=1)
    assert next(written)[0] == "laser printer"
    written.close()
    assert len(model.asked) <= 8


def test_answers_are_kept_for_a_run_that_goes_on(model, tmp_path: Path) -> None:
    def ask():
        return list(generated_queries(SHOP, settings(model, llm_queries=4), template=ProductTemplate(), seed=1, folder=tmp_path))

    first = ask()
    asked = len(model.asked)
    assert asked == len(SHOP)
    with (tmp_path / "generated-queries.jsonl").open("a") as file:
        file.write('{"model": "tiny", "id"')  # killed in the middle of a line
    assert ask() == first
    assert len(model.asked) == asked


def test_a_product_whose_text_has_changed_is_asked_about_again_and_answers_that_came_beside_a_failure_are_kept(model, tmp_path: Path, monkeypatch) -> None:
    def ask(shop):
        return list(generated_queries(shop, settings(model, llm_queries=4), template=ProductTemplate(), seed=1, folder=tmp_path))

    ask(SHOP)
    asked = len(model.asked)
    first = next(iter(SHOP))
    ask({**SHOP, first: {**SHOP[first], "title": "Something else"}})
    assert len(model.asked) == asked + 1

    ask_model = Endpoint.ask

    def refuses_one(self, client, prompt, **more):
        if "Thing 3" in prompt:
            raise LanguageModelError("refused")
        return ask_model(self, client, prompt, **more)

    monkeypatch.setattr("reranker_distill.llm_endpoint.Endpoint.ask", refuses_one)
    things = {str(i): {"id": str(i), "title": f"Thing {i}"} for i in range(8)}
    with pytest.raises(LanguageModelError, match="refused"):
        ask(things)
    monkeypatch.undo()
    ask(things)
    of_things = [prompt for prompt in model.asked if "Thing" in prompt]
    assert len(of_things) == len(set(of_things)) == len(things)


def test_an_answer_without_a_query_is_asked_for_again_by_the_next_run(model, tmp_path: Path) -> None:
    def ask():
        return list(generated_queries(SHOP, settings(model, llm_queries=4), template=ProductTemplate(), seed=1, folder=tmp_path))

    good, model.answer = model.answer, ""  # its words went into thinking aloud
    assert ask() == []
    model.answer = good
    assert ask()


def test_a_moment_s_failure_is_passed_over_and_a_lasting_one_told(model, monkeypatch) -> None:
    monkeypatch.setattr("time.sleep", lambda s: None)
    model.failures = 2
    assert list(generated_queries(SHOP, settings(model), template=ProductTemplate(), seed=1))
    model.failures = 1_000
    with pytest.raises(LanguageModelError, match="503"):
        list(generated_queries(SHOP, settings(model), template=ProductTemplate(), seed=1))
    model.failures = 0
    with pytest.raises(LanguageModelError, match="404"):
        list(generated_queries(SHOP, settings(model, llm_endpoint=model.url + "/nowhere"), template=ProductTemplate(), seed=1))


def test_the_key_comes_from_the_environment(model, monkeypatch) -> None:
    named = settings(model, llm_api_key_env="SHOP_LLM_KEY")
    monkeypatch.delenv("SHOP_LLM_KEY", raising=False)
    with pytest.raises(RecipeError, match="SHOP_LLM_KEY"):
        next(generated_queries(SHOP, named, template=ProductTemplate(), seed=1))
    monkeypatch.setenv("SHOP_LLM_KEY", "secret")
    next(generated_queries(SHOP, named, template=ProductTemplate(), seed=1))
    assert model.keys == {"Bearer secret"}


def test_a_recipe_that_asks_for_a_model_must_name_it(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('name = "shop"\n[augmentation]\nllm_queries = 10\n')
    with pytest.raises(RecipeError, match="llm_endpoint"):
        load_recipe(str(recipe))


@pytest.mark.parametrize(
    ("answer", "queries"),
    [
        ('["usb hub", "USB-C Hub."]', ["usb hub", "usb-c hub"]),
        ('```json\n["usb hub"]\n```', ["usb hub"]),
        ('Here are some queries:\n1. usb hub\n2) "4 port hub"\n- hub', ["usb hub", "4 port hub", "hub"]),
        ("Here you go:\nusb hub\nusb hub", ["usb hub"]),
        ("[1, null, {}]", []),
        ("", []),
        ('["' + "word " * 20 + '"]', []),
    ],
)
def test_answers_are_read_whatever_their_form(answer: str, queries: list[str]) -> None:
    assert parse_answer(answer) == queries
