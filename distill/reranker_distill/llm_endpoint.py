"""A language model behind any OpenAI-compatible endpoint: asked again where it fails for a moment, its answers kept as they come."""

from __future__ import annotations

import importlib.util
import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from reranker.errors import MissingExtraError, RecipeError, RerankerError

AT_ONCE = 8
"""How many requests are in work at a time."""

_TRIES = 6
_LONGEST_WAIT_S = 30.0


class LanguageModelError(RerankerError):
    """The language model's endpoint does not answer, or not as an OpenAI-compatible one does."""


class Endpoint(NamedTuple):
    """Where a language model is; ``keys`` are the recipe's names of address, model and key variable, for what users are told."""

    address: str
    model: str
    api_key_env: str
    keys: tuple[str, str, str]

    def check(self) -> None:
        """Check what can be checked without asking.

        Raises:
            MissingExtraError: httpx is not installed.
            RecipeError: the environment variable that should hold the key is empty.
        """
        if importlib.util.find_spec("httpx") is None:
            raise MissingExtraError(self.keys[0], "distill")
        if self.api_key_env and not os.environ.get(self.api_key_env):
            raise RecipeError(
                f"The recipe's {self.keys[2]} names {self.api_key_env}, which is not set.",
                hint=f'Put the key into that environment variable, or say that there is none: {self.keys[2].rpartition(".")[2]} = ""',
            )

    def client(self) -> Any:
        """Return an ``httpx.Client`` with the key in its headers."""
        import httpx

        key = os.environ.get(self.api_key_env, "") if self.api_key_env else ""
        return httpx.Client(timeout=httpx.Timeout(120.0, connect=10.0), headers={"Authorization": f"Bearer {key}"} if key else {})

    def ask(self, client: Any, prompt: str, **settings: Any) -> dict[str, Any]:
        """Return the first choice of a chat completion: ``message``, and ``logprobs`` where asked for.

        Raises:
            LanguageModelError: it refuses, or fails again and again, or answers otherwise.
        """
        import httpx

        url = self.address.rstrip("/") + "/chat/completions"
        body = {"model": self.model, "messages": [{"role": "user", "content": prompt}], **settings}
        problem, wait = "", 0.0
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(min(wait, _LONGEST_WAIT_S))
            wait = 0.5 * 3**attempt
            try:
                answer = client.post(url, json=body)
                if answer.status_code == 429 or answer.status_code >= 500:
                    problem = f"HTTP {answer.status_code}"
                    asked = answer.headers.get("Retry-After", "")
                    wait = float(asked) if asked.isdigit() else wait
                    continue
                answer.raise_for_status()
                choice = answer.json()["choices"][0]
                choice["message"]["content"]
                return dict(choice)
            except httpx.HTTPStatusError as error:
                raise LanguageModelError(
                    f"The language model at {url} refuses: HTTP {error.response.status_code} {error.response.text[:200]}",
                    hint=f"Check {self.keys[0]}, {self.keys[1]} and the key.",
                ) from error
            except httpx.TransportError as error:
                problem = f"{type(error).__name__}: {error}"
            except (ValueError, LookupError, TypeError) as error:
                raise LanguageModelError(
                    f"The language model at {url} does not answer as an OpenAI-compatible endpoint does.",
                    hint=f"{self.keys[0]} is the address before /chat/completions, such as http://localhost:8000/v1",
                ) from error
        raise LanguageModelError(
            f"The language model at {url} does not answer after {_TRIES} tries ({problem}).",
            hint="Run the same command when it is back: answers that came are kept.",
        )


class Answers:
    """Answers by key in a JSONL file, kept as they come, so that a stopped run pays for none twice; None keeps them in memory alone.

    Threads may add at the same time.
    """

    def __init__(self, path: Path | None, model: str) -> None:
        self._path, self._model = path, model
        self._lock = threading.Lock()
        self._known: dict[str, Any] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path and path.is_file() else []:
            try:
                entry = json.loads(line)
            except ValueError:  # the last line of a run that was stopped
                continue
            if entry.get("model") == model:
                self._known[str(entry["id"])] = entry["answer"]

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def __getitem__(self, key: str) -> Any:
        return self._known[key]

    def get(self, key: str, default: Any) -> Any:
        return self._known.get(key, default)

    def add(self, answers: Mapping[str, Any]) -> None:
        """Keep answers by key."""
        with self._lock:
            self._known |= answers
            if self._path and answers:
                entries = [json.dumps({"model": self._model, "id": key, "answer": answer}, ensure_ascii=False) for key, answer in answers.items()]
                with self._path.open("a", encoding="utf-8") as file:
                    file.write("\n".join(["", *entries, ""]))  # the first line break ends a line that a killed run left half
