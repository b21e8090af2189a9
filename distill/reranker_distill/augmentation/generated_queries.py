"""Queries that a language model writes for a product, through any OpenAI-compatible endpoint."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import Any

from reranker.products import Product
from reranker.text import ProductTemplate, clean
from reranker_distill.llm_endpoint import CONCURRENCY, Answers, Endpoint
from reranker_distill.recipe import Augmentation

QUERIES_PER_PRODUCT = 4
ANSWERS = "generated-queries.jsonl"
_MAX_WORDS, _MAX_CHARACTERS = 8, 60
_PROMPT = """You are a shopper who uses the search box of an online shop. Write {n} different short queries you might type to find the product below.
Vary them: a plain word for what it is (also another word than the shop's), the kind with one important property, the brand with the kind.
1 to 5 words each, lower case, no punctuation. Answer with a JSON array of strings and nothing else.

Product: {product}"""


def endpoint(settings: Augmentation) -> Endpoint:
    """Return the endpoint of the model that writes queries."""
    keys = ("augmentation.llm_endpoint", "augmentation.llm_model", "augmentation.llm_api_key_env")
    return Endpoint(settings.llm_endpoint, settings.llm_model, settings.llm_api_key_env, keys)


def generated_queries(
    products: Mapping[str, Product], settings: Augmentation, *, template: ProductTemplate, seed: int, folder: Path | None = None
) -> Generator[tuple[str, str], None, None]:
    """Yield (query, product id) that the model writes for products in a seeded order, as long as queries are taken.

    At most ``2 * llm_queries`` products are used. Answers with queries are stored in ``folder`` as they arrive, by prompt: a run
    that is resumed, or started again with other settings, pays for none twice.

    Raises:
        LanguageModelError: the endpoint refuses, or does not answer after several tries.
    """
    model = endpoint(settings)
    model.check()
    ids = list(products)
    random.Random(seed).shuffle(ids)
    ids = ids[: 2 * settings.llm_queries]
    stored = Answers(folder / ANSWERS if folder else None, settings.llm_model)
    with model.client() as client, ThreadPoolExecutor(CONCURRENCY) as threads:

        def ask(prompt: str) -> str:
            content = model.ask(client, prompt, temperature=0.7, max_tokens=200)["message"]["content"]
            answer = content if isinstance(content, str) else ""
            if parse_answer(answer):
                stored.add({_key(prompt): answer})
            return answer

        for start in range(0, len(ids), CONCURRENCY):
            batch = {i: _PROMPT.format(n=QUERIES_PER_PRODUCT, product=template.render(products[i])) for i in ids[start : start + CONCURRENCY]}
            answers = {prompt: stored.get(_key(prompt), None) for prompt in batch.values()}
            todo = [prompt for prompt, answer in answers.items() if answer is None]
            answers |= zip(todo, threads.map(ask, todo), strict=True)
            for product_id, prompt in batch.items():
                for query in parse_answer(answers[prompt]):
                    yield query, product_id


def _key(prompt: str) -> str:
    return blake2b(prompt.encode(), digest_size=12).hexdigest()


def parse_answer(answer: str) -> list[str]:
    """Return the queries in a model's answer: a JSON array, or one query per line; anything else is dropped."""
    found: Sequence[Any] = []
    array = re.search(r"\[.*?\]", answer, re.DOTALL)
    if array:
        try:
            found = json.loads(array.group())
        except ValueError:
            array = None
    if not array:
        # Lines that look like list entries, or else all lines; "Sure, here you are:" is dropped for its colon.
        lines = [line.strip() for line in answer.splitlines() if line.strip()]
        entries = [line for line in lines if re.match(r"(?:[-*•]|\d+[.):])\s", line)]
        found = [re.sub(r"^(?:[-*•]|\d+[.):])\s+", "", line) for line in entries or lines if not line.endswith(":")]
    queries = []
    for value in found:
        if not isinstance(value, str):
            continue
        text = clean(value).strip(" \"'`“”.,;").lower()
        if 1 < len(text) <= _MAX_CHARACTERS and len(text.split()) <= _MAX_WORDS and any(c.isalpha() for c in text):
            queries.append(text)
    return list(dict.fromkeys(queries))
