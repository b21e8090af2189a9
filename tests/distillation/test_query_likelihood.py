"""The query likelihood of a language model, against the probabilities of the query's tokens computed one by one."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from reranker.errors import RecipeError
from reranker.text import ProductTemplate
from reranker_distill import precision
from reranker_distill.teacher import query_likelihood
from reranker_distill.teacher.query_likelihood import QueryLikelihood
from tests.tiny_decoder import make_tiny_decoder

PRODUCTS = [{"id": str(n), "title": " ".join(("laptop", "hose", "lamp", "desk", "hub")[(n + i) % 5] for i in range(4 * n + 1))} for n in range(6)]
PAIRS = [(query, product) for query in ("bag", "usb hub", "garden hose black", "usb bag") for product in PRODUCTS]


@pytest.fixture(autouse=True)
def _in_floats(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compared here differs in bfloat16's last digits, on machines that have it in hardware."""
    monkeypatch.setattr(precision, "has_bfloat16", lambda: False)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_decoder(tmp_path_factory.mktemp("decoder"))


def likelihood(decoder: Path, **settings: int) -> QueryLikelihood:
    return QueryLikelihood(str(decoder), ProductTemplate(fields=("title",)), decoder, **settings)


@pytest.mark.parametrize("words", [7, None], ids=["a vocabulary of three blocks", "of one block"])
def test_it_is_the_mean_probability_of_the_query_s_tokens(decoder: Path, words: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if words:
        monkeypatch.setattr(query_likelihood, "VOCABULARY_BLOCK", words)
    tokenizer, model = AutoTokenizer.from_pretrained(decoder), AutoModelForCausalLM.from_pretrained(decoder).eval()
    found = likelihood(decoder).distributions(PAIRS)
    for (query, product), row in zip(PAIRS, found, strict=True):
        before = tokenizer(f"Product: {product['title']}\nSearch query:")["input_ids"]
        tokens = torch.tensor([before + tokenizer(query)["input_ids"]])
        with torch.inference_mode():
            logs = model(tokens).logits.log_softmax(dim=-1)[0]
        message = [float(logs[at - 1, tokens[0, at]]) for at in range(len(before), tokens.shape[1])]
        assert np.log(row[1]) == pytest.approx(np.mean(message), abs=1e-4)
        assert row.sum() == pytest.approx(1)


def test_it_is_the_same_in_any_company_and_after_a_journey(decoder: Path) -> None:
    model = likelihood(decoder)
    done: list[int] = []
    together = model.distributions(PAIRS, on_pairs=done.append)
    assert sum(done) == len(PAIRS)
    np.testing.assert_allclose(model.distributions(PAIRS, tokens_per_batch=40), together, rtol=1e-4)
    elsewhere = pickle.loads(pickle.dumps(model))
    np.testing.assert_allclose([elsewhere.relevance(query, [product])[0] for query, product in PAIRS], together[:, 1], rtol=1e-4)


def test_a_long_product_is_cut_rather_than_the_words_before_the_query(decoder: Path) -> None:
    long = {"id": "1", "title": "laptop " * 60}
    short = {"id": "2", "title": "laptop " * 11}
    cut, whole = likelihood(decoder, max_length=20).relevance("usb hub", [long, short])
    assert cut == pytest.approx(whole, rel=1e-4)
    assert likelihood(decoder, max_length=80).relevance("usb hub", [long])[0] != pytest.approx(whole, rel=1e-4)


def test_its_model_s_folder_travels_with_it(decoder: Path, tmp_path: Path) -> None:
    model = likelihood(decoder)
    assert model.checkpoint() == decoder
    shutil.copytree(decoder, tmp_path / "copy")
    np.testing.assert_array_equal(model.with_checkpoint(tmp_path / "copy").distributions(PAIRS), model.distributions(PAIRS))
    assert model.with_checkpoint(tmp_path / "copy").checkpoint() == tmp_path / "copy"
    assert QueryLikelihood("somebody/a-model", ProductTemplate(), tmp_path).checkpoint() is None


def test_a_model_that_cannot_be_loaded_is_reported(tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer_config.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(RecipeError, match="cannot be loaded"):
        likelihood(tmp_path).relevance("bag", PRODUCTS)
