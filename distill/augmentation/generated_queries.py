"""Queries that a language model writes for a product, through any OpenAI-compatible endpoint."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import re
import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from distill.recipe import Augmentation
from reranker.errors import MissingExtraError, RecipeError, RerankerError
from reranker.products import Product
from reranker.text import ProductTemplate, clean

QUERIES_PER_PRODUCT = 4
ANSWERS = "generated-queries.jsonl"
_AT_ONCE = 8
_TRIES = 4
_MAX_WORDS, _MAX_CHARACTERS = 8, 60
_PROMPT = """You are a shopper who uses the search box of an online shop. Write {n} different short queries you might type to find the product below.
Vary them: a plain word for what it is (also another word than the shop's), the kind with one important property, the brand with the kind.
1 to 5 words each, lower case, no punctuation. Answer with a JSON array of strings and nothing else.

Product: {product}"""


class LanguageModelError(RerankerError):
    """The language model's endpoint does not answer, or not as an OpenAI-compatible one does."""


def check_endpoint(settings: Augmentation) -> None:
    """Check what can be checked without asking the endpoint.

    Raises:
        MissingExtraError: httpx is not installed.
        RecipeError: the environment variable that should hold the key is empty.
    """
    if not settings.llm_queries:
        return
    if importlib.util.find_spec("httpx") is None:
        raise MissingExtraError("augmentation.llm_queries", "distill")
    if settings.llm_api_key_env and not os.environ.get(settings.llm_api_key_env):
        raise RecipeError(
            f"The recipe's augmentation.llm_api_key_env names {settings.llm_api_key_env}, which is not set.",
            hint='Put the key into that environment variable, or say that there is none: llm_api_key_env = ""',
        )


def generated_queries(
    products: Mapping[str, Product], settings: Augmentation, *, template: ProductTemplate, seed: int, folder: Path | None = None
) -> Generator[tuple[str, str], None, None]:
    """Yield (query, product id) that the model writes for products in a seeded order, for as long as queries are taken.

    At most ``2 * llm_queries`` products are asked about. Answers are kept in ``folder`` as they come, so that a run
    stopped here pays for none twice.

    Raises:
        LanguageModelError: the endpoint refuses, or does not answer after several tries.
    """
    check_endpoint(settings)
    import httpx

    ids = list(products)
    random.Random(seed).shuffle(ids)
    ids = ids[: 2 * settings.llm_queries]
    path = folder / ANSWERS if folder else None
    known = _read_answers(path, settings) if path else {}
    key = os.environ.get(settings.llm_api_key_env, "") if settings.llm_api_key_env else ""
    with (
        httpx.Client(timeout=httpx.Timeout(120.0, connect=10.0), headers={"Authorization": f"Bearer {key}"} if key else {}) as client,
        ThreadPoolExecutor(_AT_ONCE) as threads,
    ):
        for start in range(0, len(ids), _AT_ONCE):
            batch = ids[start : start + _AT_ONCE]
            todo = [i for i in batch if i not in known]
            answers = list(threads.map(lambda i: _ask(client, settings, template.render(products[i])), todo))
            known |= zip(todo, answers, strict=True)
            if path and todo:
                entries = [json.dumps({"model": settings.llm_model, "id": i, "answer": known[i]}, ensure_ascii=False) for i in todo]
                with path.open("a", encoding="utf-8") as file:
                    file.write("\n".join(["", *entries, ""]))  # the first line break ends a line that a killed run left half
            for product_id in batch:
                for query in parse_answer(known[product_id]):
                    yield query, product_id


def parse_answer(answer: str) -> list[str]:
    """Return the queries in a model's answer: a JSON array, or a list with a query a line; what is no query is dropped."""
    found: Sequence[Any] = []
    array = re.search(r"\[.*?\]", answer, re.DOTALL)
    if array:
        try:
            found = json.loads(array.group())
        except ValueError:
            array = None
    if not array:
        # Lines that begin like an entry of a list; where there are none, all lines: "Sure, here you are:" is dropped by its end.
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


def _ask(client: Any, settings: Augmentation, product: str) -> str:
    import httpx

    url = settings.llm_endpoint.rstrip("/") + "/chat/completions"
    body = {
        "model": settings.llm_model,
        "messages": [{"role": "user", "content": _PROMPT.format(n=QUERIES_PER_PRODUCT, product=product)}],
        "temperature": 0.7,
        "max_tokens": 200,
    }
    problem = ""
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(min(0.5 * 4 ** (attempt - 1), 10))
        try:
            answer = client.post(url, json=body)
            if answer.status_code == 429 or answer.status_code >= 500:
                problem = f"HTTP {answer.status_code}"
                continue
            answer.raise_for_status()
            content = answer.json()["choices"][0]["message"]["content"]
            return content if isinstance(content, str) else ""
        except httpx.HTTPStatusError as error:
            raise LanguageModelError(
                f"The language model at {url} refuses: HTTP {error.response.status_code} {error.response.text[:200]}",
                hint="Check augmentation.llm_endpoint, llm_model and the key.",
            ) from error
        except httpx.TransportError as error:
            problem = f"{type(error).__name__}: {error}"
        except (ValueError, LookupError, TypeError) as error:
            raise LanguageModelError(
                f"The language model at {url} does not answer as an OpenAI-compatible endpoint does.",
                hint="augmentation.llm_endpoint is the address before /chat/completions, such as http://localhost:8000/v1",
            ) from error
    raise LanguageModelError(
        f"The language model at {url} does not answer after {_TRIES} tries ({problem}).",
        hint="Run the same command when it is back: answers that came are kept.",
    )


def _read_answers(path: Path, settings: Augmentation) -> dict[str, str]:
    known: dict[str, str] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:  # the last line of a run that was stopped
                continue
            if entry.get("model") == settings.llm_model:
                known[str(entry["id"])] = str(entry["answer"])
    return known
