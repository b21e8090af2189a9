"""A language model's prompt: the product's text, and the query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reranker_distill.recipe import Teacher


def fill_prompt(prompt: str, max_length: int, tokenizer: Any, query: str, product_text: str) -> str:
    """Return the prompt with both texts; the product's is cut so that the whole has ``max_length`` tokens and the query stays."""
    room = max(max_length - len(tokenizer(prompt.format(product="", query=query))["input_ids"]) - 2, 1)
    ids = tokenizer(product_text, add_special_tokens=False)["input_ids"]
    if len(ids) > room:
        product_text = tokenizer.decode(ids[:room])
    return prompt.format(product=product_text, query=query)


def tokenise(settings: Teacher, tokenizer: Any, prompts: Sequence[str]) -> list[list[int]]:
    """Return the prompts' token ids, at most ``max_length`` each."""
    ids: list[list[int]] = tokenizer(list(prompts), truncation=True, max_length=settings.max_length)["input_ids"]
    return ids
