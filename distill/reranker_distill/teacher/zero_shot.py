"""A teacher without judgments: an instruct LLM behind an OpenAI-compatible endpoint, graded by its token probabilities."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from reranker.products import Product
from reranker.text import ProductTemplate, clean
from reranker_distill.llm_endpoint import AT_ONCE, Answers, Endpoint, LanguageModelError
from reranker_distill.recipe import Teacher as TeacherSettings
from reranker_distill.teacher.soft_targets import expected_relevance

SETTINGS = "zero-shot.json"
ANSWERS = "zero-shot-grades.jsonl"
"""In the run's folder rather than the stage's: answers outlive a stage that begins anew, as they were paid for."""

TOP = 20
"""How many of the likeliest next tokens are asked for: the most that OpenAI's protocol gives."""

_MOST_TOKENS = 4  # the digit, and a blank or line break that some models put before it
_MOST_WITHOUT_GRADE = 0.05
_ENOUGH = 20

QUESTION = """How relevant is this product of an online shop to the shopper's search query?

Search query: {query}
Product: {product}"""

GRADES = """

Grades:
{grades}
Answer with the grade's number and nothing else."""


def prepare_zero_shot(products: Mapping[str, Product], settings: TeacherSettings, template: ProductTemplate, folder: Path) -> dict[str, Any]:
    """Write down what the teacher is, in place of training it; returns what the run's report says of it.

    One grade is asked for, so that an endpoint that cannot give it is found out before pairs are made.

    Raises:
        LanguageModelError: it cannot.
    """
    (folder / SETTINGS).write_text(json.dumps({"settings": settings.model_dump(), "template": template.model_dump()}), encoding="utf-8")
    first = next(iter(products.values()))
    sample = ZeroShotTeacher(folder, enough=1).distributions([(str(first["title"]), first)])[0]
    told = dict(zip(settings.classes, sample.round(4).tolist(), strict=True))
    return {"kind": "zero_shot", "model": settings.model, "grades": settings.grades, "a_product_for_its_own_title": told}


def chat_prompt(settings: TeacherSettings, query: str, product_text: str) -> str:
    """Return what the model is asked: the recipe's prompt, where it names one of its own, and the grades by number and name."""
    own = settings.prompt != TeacherSettings.model_fields["prompt"].default
    grades = "\n".join(f"{i}: {name}" for i, name in enumerate(settings.classes))
    return (settings.prompt if own else QUESTION).format(query=clean(query), product=product_text) + GRADES.format(grades=grades)


def endpoint(settings: TeacherSettings) -> Endpoint:
    """Return where the teacher is asked."""
    return Endpoint(settings.endpoint, settings.model, settings.api_key_env, ("teacher.endpoint", "teacher.model", "teacher.api_key_env"))


class ZeroShotTeacher:
    """Asks the endpoint for a digit, and reads the grades' probabilities from the likeliest tokens in its place.

    Answers are kept beside ``folder`` as they come: no pair is paid for twice. An answer that is no grade counts as knowing
    nothing, every grade as probable; more than 5 % of them, once there are ``enough`` answers, are an error.

    Source: arXiv 2310.14122 (expected relevance from the log-likelihoods of graded labels).
    """

    def __init__(self, folder: Path, *, enough: int = _ENOUGH) -> None:
        saved = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        self.settings = TeacherSettings.model_validate(saved["settings"])
        self.template = ProductTemplate.model_validate(saved["template"])
        self._endpoint = endpoint(self.settings)
        self._answers = Answers(folder.parent / ANSWERS, self.settings.model)
        self._enough = enough
        self._asked = 0
        self._without: dict[str, str] = {}

    def distributions(self, pairs: Sequence[tuple[str, Product]], *, tokens_per_batch: int = 0, on_pairs: Callable[[int], None] | None = None) -> np.ndarray:
        """Return the grade distributions of (query, product) pairs: float32 (n, grades); ``on_pairs`` is told the number done.

        Raises:
            LanguageModelError: the endpoint fails, gives no token probabilities, or too often no grade.
        """
        prompts = [chat_prompt(self.settings, query, self.template.render(product)) for query, product in pairs]
        todo = list(dict.fromkeys(prompt for prompt in prompts if prompt not in self._answers))
        if on_pairs and len(prompts) > len(todo):
            on_pairs(len(prompts) - len(todo))
        if todo:
            self._ask_all(todo, on_pairs)
        unknown = [1 / self.settings.grades] * self.settings.grades
        grades = [self._answers.get(prompt, unknown) for prompt in prompts]
        return np.array(grades, dtype=np.float32).reshape(-1, self.settings.grades)

    def relevance(self, query: str, products: Sequence[Product]) -> np.ndarray:
        """Return the expected grade of each product, scaled to 0–1: float32 (n,)."""
        return expected_relevance(self.distributions([(query, product) for product in products]))

    def _ask_all(self, prompts: Sequence[str], on_pairs: Callable[[int], None] | None) -> None:
        with self._endpoint.client() as client:
            threads = ThreadPoolExecutor(AT_ONCE)
            try:
                asked = {threads.submit(self._ask, client, prompt): prompt for prompt in prompts}
                for answered in as_completed(asked):
                    self._count(asked[answered], answered.result())
                    if on_pairs:
                        on_pairs(1)
            finally:
                threads.shutdown(cancel_futures=True)  # where one fails, the rest need not be asked

    def _ask(self, client: Any, prompt: str) -> str | None:
        """Ask, and keep the answer; return what was said in place of a grade, or None."""
        choice = self._endpoint.ask(client, prompt, temperature=0, max_tokens=_MOST_TOKENS, logprobs=True, top_logprobs=TOP)
        found = grade_distribution(choice, self.settings.grades)
        if found is None:
            return str(choice["message"]["content"])
        self._answers.add({prompt: found})
        return None

    def _count(self, prompt: str, said: str | None) -> None:
        self._asked += 1
        if said is not None:
            self._without[prompt] = said
        if self._asked >= self._enough and len(self._without) > _MOST_WITHOUT_GRADE * self._asked:
            raise LanguageModelError(
                f"{len(self._without)} of {self._asked} answers of {self.settings.model} are no grade from 0 to {self.settings.grades - 1}: "
                f"one begins with {next(iter(self._without.values()))[:80]!r}.",
                hint="Take an instruct model that keeps to the form; one that thinks before it answers must be served with its thinking turned off.",
            )


def grade_distribution(choice: Mapping[str, Any], grades: int) -> list[float] | None:
    """Return the probability of each grade, the worst first, from a chat completion's choice; None where it says no grade.

    Read where the answer's first grade stands: what the endpoint says of the other grades there, scaled to a sum of 1.

    Raises:
        LanguageModelError: the choice has no token probabilities.
    """
    said = (choice.get("logprobs") or {}).get("content")
    if not said or not all(token.get("top_logprobs") for token in said[:1]):
        raise LanguageModelError(
            "The language model's endpoint gives no token probabilities.",
            hint="A zero-shot teacher needs one that answers with logprobs and top_logprobs, such as vLLM's, llama.cpp's or OpenAI's.",
        )
    for token in said:
        if _grade(token, grades) is None:
            continue
        likeliest = {other["token"]: other for other in [*(token.get("top_logprobs") or []), token]}
        shares = np.zeros(grades)
        for other in likeliest.values():  # "3" and " 3" are two tokens of one grade
            grade = _grade(other, grades)
            if grade is not None:
                shares[grade] += math.exp(float(other["logprob"]))
        return [round(float(share), 6) for share in shares / shares.sum()] if shares.sum() > 0 else None
    return None


def _grade(token: Mapping[str, Any], grades: int) -> int | None:
    text = str(token["token"]).strip(" \t\n▁Ġ")
    return int(text) if text.isdecimal() and len(text) == 1 and int(text) < grades else None
