"""A zero-shot teacher: an instruct LLM behind an OpenAI-compatible endpoint, whose token probabilities are the grade distribution."""

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
from reranker_distill.llm_endpoint import CONCURRENCY, Answers, Endpoint, LanguageModelError
from reranker_distill.recipe import Teacher as TeacherSettings
from reranker_distill.teacher.soft_targets import expected_relevance

SETTINGS = "zero-shot.json"
ANSWERS = "zero-shot-grades.jsonl"
"""In the run's folder, not the stage's: paid answers are kept when the stage begins again."""

TOP_LOGPROBS = 20
"""How many of the likeliest next tokens are requested: the most that OpenAI's protocol allows."""

_MAX_TOKENS = 4  # the digit, and a blank or line break that some models put before it
_MAX_SHARE_WITHOUT_GRADE = 0.05
_MIN_ANSWERS = 20

QUESTION = """How relevant is this product of an online shop to the shopper's search query?

Search query: {query}
Product: {product}"""

GRADES = """

Grades:
{grades}
Answer with the grade's number and nothing else."""


def prepare_zero_shot(products: Mapping[str, Product], settings: TeacherSettings, template: ProductTemplate, folder: Path) -> dict[str, Any]:
    """Save the teacher's settings, in place of training it; returns the stage's report.

    One grade is requested, so that an unusable endpoint is noticed before pairs are chosen.

    Raises:
        LanguageModelError: the endpoint gives no grade.
    """
    (folder / SETTINGS).write_text(json.dumps({"settings": settings.model_dump(), "template": template.model_dump()}), encoding="utf-8")
    first = next(iter(products.values()))
    sample = ZeroShotTeacher(folder, min_answers=1).distributions([(str(first["title"]), first)])[0]
    grades = dict(zip(settings.classes, sample.round(4).tolist(), strict=True))
    return {"kind": "zero_shot", "model": settings.model, "grades": settings.grades, "a_product_for_its_own_title": grades}


def chat_prompt(settings: TeacherSettings, query: str, product_text: str) -> str:
    """Return the model's prompt: the recipe's, where it gives one, and the grades by number and name."""
    own = settings.prompt != TeacherSettings.model_fields["prompt"].default
    grades = "\n".join(f"{i}: {name}" for i, name in enumerate(settings.classes))
    return (settings.prompt if own else QUESTION).format(query=clean(query), product=product_text) + GRADES.format(grades=grades)


def endpoint(settings: TeacherSettings) -> Endpoint:
    """Return the teacher's endpoint."""
    return Endpoint(settings.endpoint, settings.model, settings.api_key_env)


class ZeroShotTeacher:
    """Asks the endpoint for a digit, and reads the grades' probabilities from the likeliest tokens at its position.

    Answers are stored beside ``folder`` as they arrive: no pair is paid for twice. An answer without a grade gives a uniform
    distribution; more than 5 % of them, once there are ``min_answers``, are an error.

    Source: arXiv 2310.14122 (expected relevance from the log-likelihoods of graded labels).
    """

    def __init__(self, folder: Path, *, min_answers: int = _MIN_ANSWERS) -> None:
        saved = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        self.settings = TeacherSettings.model_validate(saved["settings"])
        self.template = ProductTemplate.model_validate(saved["template"])
        self._endpoint = endpoint(self.settings)
        self._answers = Answers(folder.parent / ANSWERS, self.settings.model)
        self._min_answers = min_answers
        self._asked = 0
        self._without_grade: dict[str, str] = {}

    def distributions(self, pairs: Sequence[tuple[str, Product]], *, on_pairs: Callable[[int], None] | None = None) -> np.ndarray:
        """Return the grade distributions of (query, product) pairs: float32 (n, grades); ``on_pairs`` is called with the number done.

        Raises:
            LanguageModelError: the endpoint fails, gives no token probabilities, or too many answers without a grade.
        """
        prompts = [chat_prompt(self.settings, query, self.template.render(product)) for query, product in pairs]
        todo = list(dict.fromkeys(prompt for prompt in prompts if prompt not in self._answers))
        if on_pairs and len(prompts) > len(todo):
            on_pairs(len(prompts) - len(todo))
        if todo:
            self._ask_all(todo, on_pairs)
        uniform = [1 / self.settings.grades] * self.settings.grades
        grades = [self._answers.get(prompt, uniform) for prompt in prompts]
        return np.array(grades, dtype=np.float32).reshape(-1, self.settings.grades)

    def relevance(self, query: str, products: Sequence[Product]) -> np.ndarray:
        """Return the expected grade of each product, scaled to 0–1: float32 (n,)."""
        return expected_relevance(self.distributions([(query, product) for product in products]))

    def _ask_all(self, prompts: Sequence[str], on_pairs: Callable[[int], None] | None) -> None:
        with self._endpoint.client() as client:
            threads = ThreadPoolExecutor(CONCURRENCY)
            try:
                futures = {threads.submit(self._ask, client, prompt): prompt for prompt in prompts}
                for future in as_completed(futures):
                    self._count(futures[future], future.result())
                    if on_pairs:
                        on_pairs(1)
            finally:
                threads.shutdown(cancel_futures=True)  # after a failure the rest is not requested

    def _ask(self, client: Any, prompt: str) -> str | None:
        """Ask, and store the answer; return the text of an answer without a grade, or None."""
        choice = self._endpoint.ask(client, prompt, temperature=0, max_tokens=_MAX_TOKENS, logprobs=True, top_logprobs=TOP_LOGPROBS)
        distribution = grade_distribution(choice, self.settings.grades)
        if distribution is None:
            return str(choice["message"]["content"])
        self._answers.add({prompt: distribution})
        return None

    def _count(self, prompt: str, text: str | None) -> None:
        self._asked += 1
        if text is not None:
            self._without_grade[prompt] = text
        if self._asked >= self._min_answers and len(self._without_grade) > _MAX_SHARE_WITHOUT_GRADE * self._asked:
            raise LanguageModelError(
                f"{len(self._without_grade)} of {self._asked} answers of {self.settings.model} are no grade from 0 to {self.settings.grades - 1}: "
                f"one begins with {next(iter(self._without_grade.values()))[:80]!r}.",
                hint="Use an instruct model that answers with the number alone; turn the thinking of a reasoning model off at its server.",
            )


def grade_distribution(choice: Mapping[str, Any], grades: int) -> list[float] | None:
    """Return the probability of each grade, the worst first, from a chat completion's choice; None where it has no grade.

    The probabilities of all grades at the position of the answer's first grade, scaled to a sum of 1.

    Raises:
        LanguageModelError: the choice has no token probabilities.
    """
    tokens = (choice.get("logprobs") or {}).get("content")
    if not tokens or not all(token.get("top_logprobs") for token in tokens[:1]):
        raise LanguageModelError(
            "The language model's endpoint gives no token probabilities.",
            hint="A zero-shot teacher needs one that answers with logprobs and top_logprobs, such as vLLM's, llama.cpp's or OpenAI's.",
        )
    for token in tokens:
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
