"""Output for terminals: text that came from data or from a user cannot steer the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from reranker.errors import CONTROL, printable


class Terminal(Console):
    """A console of rich that shows control characters escaped. Rich alone removes a few of them and prints the others."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def json_text(value: Any, indent: int | None = None) -> str:
    """Return JSON for the standard output: as it is read by people too, but with control characters escaped, which JSON allows in strings."""
    return CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", json.dumps(value, ensure_ascii=False, indent=indent))
