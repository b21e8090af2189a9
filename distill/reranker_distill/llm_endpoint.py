"""A language model behind an OpenAI-compatible endpoint, and a file of its answers."""

from __future__ import annotations

import importlib.util
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from reranker.errors import MissingExtraError, RecipeError, RerankerError

CONCURRENCY = 8
"""How many requests are in flight at a time."""

MAX_RETRIES = 6
"""After connection errors, HTTP 429 and 5xx, with exponential waits, or as the server's Retry-After says."""

_TIMEOUT_S = 120.0


class LanguageModelError(RerankerError):
    """The language model's endpoint does not answer, or not as an OpenAI-compatible one does."""


class Endpoint(NamedTuple):
    """Where a zero-shot teacher is; ``api_key_env`` is the environment variable with its key, or empty."""

    address: str
    model: str
    api_key_env: str

    def check(self) -> None:
        """Check what can be checked without a request.

        Raises:
            MissingExtraError: openai is not installed.
            RecipeError: the environment variable for the key is not set.
        """
        if importlib.util.find_spec("openai") is None:
            raise MissingExtraError("teacher.endpoint", "distill")
        if self.api_key_env and not os.environ.get(self.api_key_env):
            raise RecipeError(
                f"The recipe's teacher.api_key_env names {self.api_key_env}, which is not set.",
                hint='Put the key into that environment variable, or say that there is none: api_key_env = ""',
            )

    def client(self) -> Any:
        """Return an ``openai.OpenAI`` client, which is a context manager."""
        import openai

        key = os.environ.get(self.api_key_env, "") if self.api_key_env else ""
        return openai.OpenAI(api_key=key or "none", base_url=self.address, max_retries=MAX_RETRIES, timeout=_TIMEOUT_S)

    def ask(self, client: Any, prompt: str, **settings: Any) -> dict[str, Any]:
        """Return the first choice of a chat completion: ``message``, and ``logprobs`` where asked for.

        Raises:
            LanguageModelError: the endpoint refuses, fails repeatedly, or answers otherwise.
        """
        import openai

        try:
            completion = client.chat.completions.create(model=self.model, messages=[{"role": "user", "content": prompt}], **settings)
            choice: dict[str, Any] = completion.choices[0].model_dump()
            choice["message"]["content"]
            return choice
        except openai.APIStatusError as error:
            if error.status_code == 429 or error.status_code >= 500:
                raise self._unavailable(f"HTTP {error.status_code}") from error
            raise LanguageModelError(
                f"The language model at {self.address} refuses: HTTP {error.status_code} {error.response.text[:200]}",
                hint="Check teacher.endpoint, teacher.model and the key.",
            ) from error
        except openai.APIConnectionError as error:
            raise self._unavailable(str(error.__cause__ or error)) from error
        except (openai.OpenAIError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise LanguageModelError(
                f"The language model at {self.address} does not answer as an OpenAI-compatible endpoint does.",
                hint="teacher.endpoint is the address before /chat/completions, such as http://localhost:8000/v1",
            ) from error

    def _unavailable(self, problem: str) -> LanguageModelError:
        return LanguageModelError(
            f"The language model at {self.address} does not answer after {MAX_RETRIES + 1} tries ({problem}).",
            hint="Run the same command when it is available: earlier answers are kept.",
        )


class Answers:
    """Answers by key in a JSONL file, appended as they arrive, so that a stopped run pays for none twice.

    Threads may add at the same time.
    """

    def __init__(self, path: Path, model: str) -> None:
        self._path, self._model = path, model
        self._lock = threading.Lock()
        self._answers: dict[str, Any] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
            try:
                entry = json.loads(line)
            except ValueError:  # the last line of a run that was killed
                continue
            if entry.get("model") == model:
                self._answers[str(entry["id"])] = entry["answer"]

    def __contains__(self, key: str) -> bool:
        return key in self._answers

    def get(self, key: str, default: Any) -> Any:
        return self._answers.get(key, default)

    def add(self, answers: Mapping[str, Any]) -> None:
        """Store answers by key."""
        with self._lock:
            self._answers |= answers
            if answers:
                entries = [json.dumps({"model": self._model, "id": key, "answer": answer}, ensure_ascii=False) for key, answer in answers.items()]
                with self._path.open("a", encoding="utf-8") as file:
                    file.write("\n".join(["", *entries, ""]))  # the first line break ends a line that a killed run left unfinished
