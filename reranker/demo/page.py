"""Adds the demo page to the service's app."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from html import escape
from importlib import resources

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, Response

from reranker.search import DEFAULT_K

EXAMPLES = ("monitor", "usb hub", "scanner", "coffee machine", "phone charger", "wireless headphones", "memory card", "gaming laptop")
"""Example queries for the demo catalogue."""

_FILES = {"style.css": "text/css", "page.js": "text/javascript"}
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def add_page(app: FastAPI, *, k: int = DEFAULT_K, examples: Sequence[str] = EXAMPLES) -> None:
    """Serve the page at ``/``.

    Args:
        k: number of hits to rerank. The page requests all of them, since BM25's best may be anywhere among them.
        examples: queries shown as buttons.
    """
    buttons = "".join(f'<li><button type="button">{escape(query)}</button></li>' for query in examples)
    page = _read("index.html").replace("{{k}}", str(k)).replace("{{examples}}", buttons).replace("{{hidden}}", "" if examples else "hidden")

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return HTMLResponse(page, headers=_HEADERS)

    for name, media_type in _FILES.items():
        app.add_api_route(f"/demo/{name}", _sender(_read(name), media_type), include_in_schema=False)
    app.state.open_paths |= {"/", *(f"/demo/{name}" for name in _FILES)}  # the page asks for the key and sends it with each search


def _read(name: str) -> str:
    return (resources.files("reranker.demo") / name).read_text(encoding="utf-8")


def _sender(content: str, media_type: str) -> Callable[[], Awaitable[Response]]:
    async def send() -> Response:
        return Response(content, media_type=media_type, headers=_HEADERS)

    return send
