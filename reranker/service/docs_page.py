"""The API's description as one plain page: works offline, where Swagger UI would load its code from elsewhere."""

from __future__ import annotations

import json
import re
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 2.5rem; border-top: 1px solid #8886; padding-top: 1.5rem; font-size: 1.15rem }
h2 code { font-size: 1.1em } table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .25rem 1rem .25rem 0; border-bottom: 1px solid #8884 }
pre { overflow-x: auto; padding: .75rem; background: #8882; border-radius: .4rem }
"""


def docs_page(openapi: dict[str, Any]) -> str:
    """Return the page for an OpenAPI description."""
    parts = [_operation(path, method, op, openapi) for path, methods in openapi["paths"].items() for method, op in methods.items()]
    info = openapi["info"]
    title = f"{escape(info['title'])}: API"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{title}</title><style>{_STYLE}</style></head><body><main><h1>{title}</h1>'
        f'<p>{escape(info["description"])} Machine-readable: <a href="/openapi.json">openapi.json</a>.</p>{"".join(parts)}</main></body></html>'
    )


def _operation(path: str, method: str, operation: dict[str, Any], openapi: dict[str, Any]) -> str:
    out = [f"<h2><code>{method.upper()} {escape(path)}</code> {escape(operation.get('summary', ''))}</h2><p>{_prose(operation.get('description', ''))}</p>"]
    rows = [(p["name"], p["schema"], p.get("description", ""), p.get("required", False)) for p in operation.get("parameters", [])]
    if rows:
        out.append(_table("Parameter", rows))
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if body:
        schema = _resolve(body, openapi)
        out.append(f"<p>{_prose(schema.get('description', ''))}</p>" + _table("Field of the body", _fields(schema)))
        if "example" in schema:
            example = json.dumps(schema["example"], ensure_ascii=False)
            out.append(f"<pre>curl -s -H 'Content-Type: application/json' http://127.0.0.1:8000{escape(path)} -d '{escape(example)}'</pre>")
    answer = _resolve(operation["responses"].get("200", {}).get("content", {}).get("application/json", {}).get("schema", {}), openapi)
    if "items" in answer:
        answer = _resolve(answer["items"], openapi)
    if "properties" in answer:
        out.append(_table("Field of the answer", [(*field[:3], False) for field in _fields(answer)]))
    return "".join(out)


def _prose(text: str) -> str:
    return re.sub(r"`+([^`]+)`+", r"<code>\1</code>", escape(text))


def _fields(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any], str, bool]]:
    return [(name, field, field.get("description", ""), name in schema.get("required", [])) for name, field in schema["properties"].items()]


def _table(heading: str, rows: list[tuple[str, dict[str, Any], str, bool]]) -> str:
    cells = "".join(
        f"<tr><td><code>{escape(name)}</code>{' (needed)' if required else ''}</td><td>{escape(_type(schema))}</td><td>{_prose(description)}</td></tr>"
        for name, schema, description, required in rows
    )
    return f'<table><thead><tr><th scope="col">{heading}</th><th scope="col">Type</th><th scope="col">Meaning</th></tr></thead><tbody>{cells}</tbody></table>'


def _type(schema: dict[str, Any]) -> str:
    if "anyOf" in schema and "type" not in schema:
        return " or ".join(_type(option) for option in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if "$ref" in schema:
        return str(schema["$ref"].rsplit("/", 1)[-1])
    return str(schema.get("type", "any"))


def _resolve(schema: dict[str, Any], openapi: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in schema:  # a body that may be left out
        schema = next(option for option in schema["anyOf"] if option.get("type") != "null")
    if "$ref" not in schema:
        return schema
    found: dict[str, Any] = openapi["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
    return found
