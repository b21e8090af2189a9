"""The pages of the documentation: their code blocks, commands, links and headings."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [README, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted(DOCS.rglob("*.md"))]
GENERATED = {
    **{DOCS / "reference" / f"{name}.md": None for name in ("cli", "recipes", "http", "exit-codes", "messages")},
    DOCS / "changelog.md": ROOT / "CHANGELOG.md",
    DOCS / "contributing.md": ROOT / "CONTRIBUTING.md",
    DOCS / "security.md": ROOT / "SECURITY.md",
}
"""Pages that the site's hook writes, each with the file it is copied from, if it is copied."""

_BLOCK = re.compile(r"^([ \t]*)```(\w+)\n(.*?)^\1```", flags=re.DOTALL | re.MULTILINE)


def name_of(page: Path) -> str:
    """Return the page's path from the repository's root."""
    return str(page.relative_to(ROOT))


def blocks(page: Path, kind: str) -> list[str]:
    """Return the page's code blocks of a language, in order."""
    return [textwrap.dedent(text) for _, found, text in _BLOCK.findall(page.read_text(encoding="utf-8")) if found == kind]


def lines(page: Path) -> list[str]:
    """Return the lines of the page's shell blocks, in order."""
    return [line for text in blocks(page, "sh") for line in re.sub(r"\\\n\s*", "", text).splitlines() if line.strip()]


def commands(page: Path) -> list[str]:
    """Return the page's lines that call ``reranker`` and nothing else."""
    return [line.partition("  #")[0].strip() for line in lines(page) if line.startswith("reranker ")]


def links(page: Path) -> list[str]:
    """Return the page's links to files and headings; links inside code are none."""
    text = re.sub(r"`[^`\n]*`", "", _BLOCK.sub("", page.read_text(encoding="utf-8")))
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"https?://|mailto:", link)]


def leads_somewhere(page: Path, link: str) -> bool:
    """Say whether the file that a link names is there, and has the heading."""
    name, _, heading = link.partition("#")
    target = (page.parent / name).resolve() if name else page
    if target in GENERATED:
        copied = GENERATED[target]
        return not heading or copied is None or heading in headings(copied)
    if not heading or not target.is_file():
        return target.exists()
    return heading in headings(target)


def headings(page: Path) -> list[str]:
    """Return the anchors of the page's headings."""
    found = re.findall(r"^#+ (.*)$", _BLOCK.sub("", page.read_text(encoding="utf-8")), flags=re.MULTILINE)
    return [re.sub(r"[^\w -]", "", text.lower()).strip().replace(" ", "-") for text in found]
