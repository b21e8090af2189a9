"""Pages of the site that are written from the code when the site is built, so that they cannot go stale.

mkdocs calls ``on_files`` and ``on_page_markdown``. Links of a page to a file outside ``docs/`` lead to a copy in the site.
"""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))
from error_messages import messages

ROOT = Path(__file__).parents[2]
PACKAGES = [ROOT / "reranker", ROOT / "opensearch" / "reranker_opensearch", ROOT / "distill" / "reranker_distill"]
METHODS = ("get", "post", "put", "delete")
LINK = re.compile(r"\]\(((?:\.\./)+)([^)#\s]+)((?:#[^)\s]*)?)\)")
LINK_IN_DOCS = re.compile(r"\]\(docs/([^)\s]+)\)")
ROOT_PAGES = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md", "security.md": "SECURITY.md"}
PAGES_OF_ROOT = {name: page for page, name in ROOT_PAGES.items()}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and every file outside ``docs/`` that a page links to."""
    api = openapi()
    pages = {
        "reference/cli.md": command_line(),
        "reference/recipes.md": recipe_keys(),
        "reference/http.md": http_api(api),
        "reference/openapi.json": json.dumps(api, indent=2),
        "reference/exit-codes.md": exit_codes(),
        "reference/messages.md": error_messages(),
        **{page: _root_page(name) for page, name in ROOT_PAGES.items()},
    }
    for uri, content in pages.items():
        files.append(File.generated(config, uri, content=content))
    for uri in sorted({uri for file in files.documentation_pages() for uri in _outside(file)}):
        files.append(File.generated(config, f"repository/{uri}", abs_src_path=str(ROOT / uri)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links that leave ``docs/`` at the copies in the site."""
    depth = page.file.src_uri.count("/")

    def mend(link: re.Match[str]) -> str:
        if link[1].count("../") <= depth or (ROOT / link[2]).is_dir():
            return link[0]
        page = PAGES_OF_ROOT.get(link[2], f"repository/{link[2]}")
        return f"]({'../' * depth}{page}{link[3]})"

    return LINK.sub(mend, markdown)


def command_line() -> str:
    """Write ``reranker``'s reference from its commands."""
    text = _run("-m", "typer", "reranker.cli.app", "utils", "docs", "--name", "reranker", "--title", "Command line")
    summaries = dict(re.findall(r"^#+ `reranker (.+)`\n\n(.+)$", text, flags=re.MULTILINE))
    lines, code, group = [], False, ""
    for line in text.splitlines():
        code ^= line.startswith("```")
        if heading := re.match(r"#+ `reranker (.+)`$", line):
            group = f"{heading[1]} "
        elif (command := re.match(r"\* `([a-z-]+)`: ", line)) and group + command[1] in summaries:  # the generator cuts these short
            name = group + command[1]
            line = f"* [`{command[1]}`](#reranker-{name.replace(' ', '-')}): {summaries[name]}"
        lines.append(line if code else re.sub(r"(`[^`]*`)|<", lambda part: part[1] or "&lt;", line))
    return "\n".join(lines)


def recipe_keys() -> str:
    """Write the recipe's keys, as ``reranker distill --keys`` prints them, and the recipes that ship."""
    keys = _run("-m", "reranker", "distill", "--keys")
    shipped = sorted((ROOT / "distill" / "reranker_distill").rglob("*.toml"))
    recipes = "\n".join(_folded_recipe(path) for path in shipped)
    return f"""# Recipe keys

A recipe is a TOML file. `reranker distill RECIPE` makes a run from it ([guide](../guides/distillation.md)).
Every key is shown with its default, as `reranker distill --keys` prints it. Paths start at the recipe's folder.

``` {{ .toml .wrapped }}
{keys.strip()}
```

## Recipes that ship

{recipes}"""


def _folded_recipe(path: Path) -> str:
    return f'??? note "{path.stem}.toml"\n\n    ``` {{ .toml .wrapped }}\n{_indented(path.read_text(encoding="utf-8"))}\n    ```\n'


def openapi() -> dict[str, Any]:
    """Return the description of the service with every endpoint that it can have."""
    from reranker.cli.commands.serve import build_app, late_first_stage
    from reranker.rollout import Rollout

    rollout = Rollout(Path("fast"), threads=1, cache=0, bundles=None, vectors=None)
    return build_app(late_first_stage(None, "products", None), rollout, k=50, budget_ms=None).openapi()


def http_api(api: dict[str, Any]) -> str:
    """Write the service's endpoints, their parameters, bodies and answers."""
    parts = ["# HTTP", "", "Written from the service's own description, which it serves at `/openapi.json` ([a copy](openapi.json)).", ""]
    parts += [
        "Where the service has API keys, a request carries `Authorization: Bearer KEY` or `X-API-Key: KEY`.",
        "Every error is JSON: `error`, with `message` and, where something can be done, `hint` ([what to do](../troubleshooting.md)).",
        "",
    ]
    for path, operations in api["paths"].items():
        for method in METHODS:
            if method in operations:
                parts += _endpoint(api, method, path, operations[method])
    parts += ["## Schemas", ""]
    for name, schema in sorted(api["components"]["schemas"].items()):
        parts += [f"### {name}", ""]
        if schema.get("description"):
            parts += [schema["description"], ""]
        parts += [*_properties(schema), ""]
    return "\n".join(parts)


def exit_codes() -> str:
    """Write the table of errors from the classes themselves."""
    from reranker import errors

    known = [error for _, error in inspect.getmembers(errors, inspect.isclass) if issubclass(error, errors.RerankerError)]
    rows = []
    for error in sorted(known, key=lambda error: (error.exit_code, error.__name__)):
        summary = (error.__doc__ or "").strip().split("\n")[0]
        rows.append(f"| `{error.__name__}` | {error.exit_code} | {error.http_status} | {summary} |")
    return "\n".join(
        [
            "# Exit codes and errors",
            "",
            "| exit code | meaning |",
            "|---|---|",
            "| 0 | The command did what was asked. |",
            "| 1 | It ran, and the answer is no (for example a pipeline that does not rerank), or something failed. |",
            "| 2 | A query, option, file or recipe cannot be used as it is, or an extra is missing. |",
            "| 3 | A bundle is incomplete, corrupt or of another version, or a rollout was refused. |",
            "| 4 | The first stage, OpenSearch or a running service cannot be reached or refuses the request. |",
            "| 5 | The gate of a distillation run refused the bundle. |",
            "| 130, 143 | Stopped by Ctrl-C or SIGTERM. |",
            "",
            "Errors are printed to stderr without a traceback: what went wrong and where, then what to do. [Troubleshooting](../troubleshooting.md) has more.",
            "",
            "## Errors by class",
            "",
            "The HTTP service answers with the status. Python callers catch `reranker.RerankerError`, the base of all.",
            "",
            "| class | exit code | HTTP status | meaning |",
            "|---|---|---|---|",
            *rows,
        ]
    )


def error_messages() -> str:
    """Write every error message with its hint, by class."""
    lines = [
        "# Error messages",
        "",
        "Every message of the packages and what to do, by class of error. Words in capitals stand for values, and … for text that varies.",
        "[Exit codes and errors](exit-codes.md) explains the classes, and [Troubleshooting](../troubleshooting.md) the usual cases.",
        "",
    ]
    for error, found in messages(PACKAGES).items():
        lines += [f"## {error}", "", "| message | what to do |", "|---|---|"]
        lines += [f"| {_cell(message.text)} | {_cell(message.hint)} |" for message in found]
        lines += [""]
    return "\n".join(lines)


def _endpoint(api: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"## {method.upper()} {path}"
    yield ""
    yield f"{operation.get('summary', '').rstrip('.?')}. {operation.get('description', '')}".strip()
    yield ""
    if parameters := operation.get("parameters"):
        yield from ("| parameter | type | default | meaning |", "|---|---|---|---|")
        for one in parameters:
            default = "required" if one.get("required") else _default(one["schema"])
            yield f"| `{one['name']}` | {_type(one['schema'])} | {default} | {_cell(one.get('description', ''))} |"
        yield ""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        yield f"Body: {_type(content['schema'])}"
        yield ""
    yield from ("| status | answer | meaning |", "|---|---|---|")
    for status, answer in sorted(operation["responses"].items()):
        kinds = [_type(content["schema"]) for content in answer.get("content", {}).values() if content.get("schema")]
        yield f"| {status} | {' or '.join(kinds)} | {_cell(answer.get('description', ''))} |"
    yield ""


def _properties(schema: dict[str, Any]) -> Iterator[str]:
    if not schema.get("properties"):
        return
    yield from ("| field | type | default | meaning |", "|---|---|---|---|")
    for name, one in schema["properties"].items():
        default = "required" if name in schema.get("required", ()) else _default(one)
        yield f"| `{name}` | {_type(one)} | {default} | {_cell(one.get('description', ''))} |"


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if options := schema.get("anyOf", schema.get("oneOf")):
        return " or ".join(dict.fromkeys(_type(option) for option in options))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    return str(schema.get("type", "any"))


def _default(schema: dict[str, Any]) -> str:
    return f"`{json.dumps(schema['default'])}`" if "default" in schema else ""


def _cell(text: str) -> str:
    return re.sub(r"[|<*_`\[\]]", lambda found: f"&#{ord(found[0])};", text.replace("\n", " "))


def _root_page(name: str) -> str:
    """Return a page of the repository's root with its links made the site's."""
    text = LINK_IN_DOCS.sub(r"](\1)", (ROOT / name).read_text(encoding="utf-8"))
    for page, linked in ROOT_PAGES.items():
        text = text.replace(f"]({linked})", f"]({page})").replace(f"]({linked}#", f"]({page}#")
    return text


def _outside(file: File) -> Iterator[str]:
    """Yield the files outside ``docs/`` that a page links to."""
    depth = file.src_uri.count("/")
    for up, uri, _ in LINK.findall(file.content_string):
        if up.count("../") > depth and (ROOT / uri).is_file() and uri not in PAGES_OF_ROOT:
            yield uri


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" if line else "" for line in text.rstrip().splitlines())


def _run(*arguments: str) -> str:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout
