"""The teacher's prompt: the same product text as everywhere, and the query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reranker_distill.recipe import Likelihood, Teacher


def render_prompt(settings: Teacher | Likelihood, tokenizer: Any, query: str, product_text: str) -> str:
    """Fill the prompt, shortening the product's text rather than losing the query behind it."""
    room = settings.max_length - len(tokenizer(settings.prompt.format(product="", query=query))["input_ids"]) - 2
    ids = tokenizer(product_text, add_special_tokens=False)["input_ids"]
    if len(ids) > max(room, 1):
        product_text = tokenizer.decode(ids[: max(room, 1)])
    return settings.prompt.format(product=product_text, query=query)


def tokenised(settings: Teacher, tokenizer: Any, prompts: Sequence[str]) -> list[list[int]]:
    """Return the prompts' token ids, at most ``max_length`` each."""
    ids: list[list[int]] = tokenizer(list(prompts), truncation=True, max_length=settings.max_length)["input_ids"]
    return ids
