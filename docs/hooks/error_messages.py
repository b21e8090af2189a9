"""Every error message of the packages with its hint, read from the places that raise it."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

UNKNOWN = "…"


class Message(NamedTuple):
    """A message and what to do about it; ``NAME`` in capitals stands for a value."""

    error: str
    text: str
    hint: str


def messages(packages: list[Path]) -> dict[str, list[Message]]:
    """Return the messages of the packages by error class, sorted; the same text is listed once."""
    found: dict[str, dict[str, Message]] = defaultdict(dict)
    for package in packages:
        for path in sorted(package.rglob("*.py")):
            for message in _raised(ast.parse(path.read_text(encoding="utf-8"))):
                found[message.error].setdefault(message.text, message)
    return {error: sorted(texts.values(), key=lambda message: message.text.lower()) for error, texts in sorted(found.items())}


def _raised(tree: ast.Module) -> Iterator[Message]:
    constants = {
        target.id: _text(node.value, {}) for node in tree.body if isinstance(node, ast.Assign) for target in node.targets if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or not node.func.id.endswith(("Error", "GateRefusal")):
            continue
        hint = next((keyword.value for keyword in node.keywords if keyword.arg == "hint"), None)
        if hint is None and not isinstance(node.args[0] if node.args else None, ast.JoinedStr | ast.Constant):
            continue
        text = _text(node.args[0], constants) if node.args else UNKNOWN
        if node.func.id not in ("ValueError", "TypeError") and text.strip(f" .:{UNKNOWN}"):
            yield Message(node.func.id, text, "" if hint is None else _text(hint, constants))


def _text(node: ast.expr, constants: Mapping[str, str]) -> str:
    """Return a message's text, with the names of its values in capitals."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.Name):
        return constants.get(node.id, node.id.strip("_").upper())
    if isinstance(node, ast.Attribute):
        return node.attr.strip("_").upper()
    if isinstance(node, ast.JoinedStr):
        text = "".join(_text(value.value if isinstance(value, ast.FormattedValue) else value, constants) for value in node.values)
        return text.replace(f"{UNKNOWN}.", UNKNOWN)
    if isinstance(node, ast.IfExp):
        return f"{_text(node.body, constants)} / {_text(node.orelse, constants)}"
    if isinstance(node, ast.BinOp):
        return _text(node.left, constants) + _text(node.right, constants)
    return UNKNOWN
