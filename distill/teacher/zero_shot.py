"""A teacher without judgments: an instruct LLM behind an OpenAI-compatible endpoint, graded by its token probabilities."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from distill.llm_endpoint import AT_ONCE, Answers, Endpoint, LanguageModelError
from distill.recipe import Teacher as TeacherSettings
from distill.teacher.soft_targets import expected_relevance
from reranker.products import Product
from reranker.text import ProductTemplate, clean

SETTINGS = "zero-shot.json"
ANSWERS = "grades.jsonl"
TOP = 20
"""How many of the likeliest next tokens are asked for: the most that OpenAI's protocol gives."""

PROMPT = """How relevant is this product of an online shop to the shopper's search query?

Search query: {query}
Product: {product}

Grades:
{grades}
Answer with the grade's number and nothing else."""


def prepare_zero_shot(settings: TeacherSettings, template: ProductTemplate, folder: Path) -> dict[str, Any]:
    """Write down what the teacher is, in place of training it; returns what the run's report says of it."""
    endpoint(settings).check()
    (folder / SETTINGS).write_text(json.dumps({"settings": settings.model_dump(), "template": template.model_dump()}), encoding="utf-8")
    return {"kind": "zero_shot", "model": settings.model, "grades": settings.grades}


def endpoint(settings: TeacherSettings) -> Endpoint:
    """Return where the teacher is asked."""
    return Endpoint(settings.endpoint, settings.model, settings.api_key_env, ("teacher.endpoint", "teacher.model", "teacher.api_key_env"))


class ZeroShotTeacher:
    """Asks the endpoint for one token, and reads the grades' probabilities from the likeliest ones.

    Answers are kept in ``folder`` as they come: no pair is paid for twice.
    """

    def __init__(self, folder: Path) -> None:
        saved = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        self.settings = TeacherSettings.model_validate(saved["settings"])
        self.template = ProductTemplate.model_validate(saved["template"])
        self._endpoint = endpoint(self.settings)
        self._answers = Answers(folder / ANSWERS, self.settings.model)
        self._grades = "\n".join(f"{i}: {name}" for i, name in enumerate(self.settings.classes))

    def distributions(self, pairs: Sequence[tuple[str, Product]], *, tokens_per_batch: int = 0, on_pairs: Callable[[int], None] | None = None) -> np.ndarray:
        """Return the grade distributions of (query, product) pairs: float32 (n, grades); ``on_pairs`` is told the number done.

        Raises:
            LanguageModelError: the endpoint fails, gives no token probabilities, or none of a grade.
        """
        prompts = [PROMPT.format(query=clean(query), product=self.template.render(product), grades=self._grades) for query, product in pairs]
        todo = list(dict.fromkeys(prompt for prompt in prompts if prompt not in self._answers))
        if on_pairs and len(prompts) > len(todo):
            on_pairs(len(prompts) - len(todo))
        if todo:
            with self._endpoint.client() as client, ThreadPoolExecutor(AT_ONCE) as threads:
                for start in range(0, len(todo), 4 * AT_ONCE):
                    batch = todo[start : start + 4 * AT_ONCE]
                    self._answers.add(dict(zip(batch, threads.map(lambda prompt: self._ask(client, prompt), batch), strict=True)))
                    if on_pairs:
                        on_pairs(len(batch))
        return np.array([self._answers[prompt] for prompt in prompts], dtype=np.float32).reshape(-1, self.settings.grades)

    def relevance(self, query: str, products: Sequence[Product]) -> np.ndarray:
        """Return the expected grade of each product, scaled to 0–1: float32 (n,)."""
        return expected_relevance(self.distributions([(query, product) for product in products]))

    def _ask(self, client: Any, prompt: str) -> list[float]:
        choice = self._endpoint.ask(client, prompt, temperature=0, max_tokens=1, logprobs=True, top_logprobs=TOP)
        try:
            tokens: Sequence[Mapping[str, Any]] = choice["logprobs"]["content"][0]["top_logprobs"]
        except (LookupError, TypeError):
            raise LanguageModelError(
                f"The language model {self.settings.model} at {self.settings.endpoint} gives no token probabilities.",
                hint="A zero-shot teacher needs an endpoint that answers with logprobs and top_logprobs, such as vLLM's or llama.cpp's.",
            ) from None
        shares = np.zeros(self.settings.grades)
        for token in tokens:
            text = str(token["token"]).strip(" \t\n▁Ġ")
            if text.isdecimal() and int(text) < self.settings.grades:
                shares[int(text)] += math.exp(float(token["logprob"]))
        if shares.sum() <= 0:
            said = choice["message"]["content"]
            raise LanguageModelError(
                f"The language model {self.settings.model} was asked for a grade from 0 to {self.settings.grades - 1} and began with {said!r}.",
                hint="None of its likeliest tokens is a grade: take an instruct model that keeps to the form.",
            )
        return [round(float(share), 6) for share in shares / shares.sum()]
