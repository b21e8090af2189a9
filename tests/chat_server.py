"""A chat endpoint in OpenAI's shape on this machine: answers with a grade and its token probabilities."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Token = dict[str, float]
"""The likeliest tokens in one place of an answer, with their probabilities; the first is the one that is said."""


class ChatServer:
    """Answers each prompt with ``answer(prompt)``, a list of ``Token``; a context manager.

    ``failures``: how many requests are answered with 503 first · ``logprobs`` False: an endpoint without token probabilities.
    """

    def __init__(self, answer: Callable[[str], list[Token]]) -> None:
        self.answer, self.failures, self.logprobs = answer, 0, True
        self.prompts: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                served.keys.add(self.headers.get("Authorization"))
                if served.failures > 0:
                    served.failures -= 1
                    self._send(503, {"error": "busy"}, {"Retry-After": "0"})
                elif self.path != "/v1/chat/completions":
                    self._send(404, {"error": "no such path"}, {})
                else:
                    served.prompts.append(body["messages"][-1]["content"])
                    served.bodies.append(body)
                    self._send(200, {"object": "chat.completion", "choices": [served.choice(body)]}, {})

            def _send(self, status: int, answer: dict[str, Any], headers: dict[str, str]) -> None:
                payload = json.dumps(answer).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(payload))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def choice(self, body: dict[str, Any]) -> dict[str, Any]:
        tokens = self.answer(body["messages"][-1]["content"])[: body["max_tokens"]]
        places = [[{"token": text, "logprob": math.log(p), "bytes": list(text.encode())} for text, p in place.items()] for place in tokens]
        content = [{**place[0], "top_logprobs": place[: body.get("top_logprobs", 0)]} for place in places]
        message = {"role": "assistant", "content": "".join(next(iter(place)) for place in tokens)}
        return {"index": 0, "message": message, "finish_reason": "stop", "logprobs": {"content": content} if self.logprobs else None}

    def __enter__(self) -> ChatServer:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
