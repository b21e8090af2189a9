"""A recipe's TOML file, joined with the recipe that it extends."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from reranker.errors import RecipeError

EXTENDS = "extends"
"""The key that names the recipe a file goes on from."""

_ITS_OWN = ("name", "description")
_FILES = ("catalog", "judgments", "query_log")


def read_keys(path: Path, find: Callable[[str, Path], Path], extending: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return a file's keys over those of the recipe that it extends, and so on; values are not checked.

    Sections are joined key by key. A variant of the variants takes the place of the base's of that name, or stands below them
    all; ``variants = []`` leaves the base's out. Files that a base names stay where they are.

    Args:
        find: gives the file of a recipe by its name or path, and the folder that paths start at.
        extending: the files that led here.

    Raises:
        RecipeError: a file is no TOML, there is no such base, or it extends itself.
    """
    if path.resolve() in extending:
        raise RecipeError(f"The recipe {path} extends itself.", hint="Take `extends` out of one of: " + ", ".join(map(str, extending)))
    try:
        own = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"The recipe {path} is not valid TOML: {error}", hint="Mend the line named above.") from error
    base = own.pop(EXTENDS, None)
    if base is None:
        return own
    if not isinstance(base, str):
        raise RecipeError(f"The recipe {path} is wrong:\n  {EXTENDS}: a recipe's name or path, as text", hint='For example: extends = "demo"')
    base_path = find(base, path.parent)
    below = read_keys(base_path, find, (*extending, path.resolve()))
    _pin_files(below, base_path.parent)
    return _joined({key: value for key, value in below.items() if key not in _ITS_OWN}, own)


def _pin_files(keys: Mapping[str, Any], folder: Path) -> None:
    data = keys.get("data")
    if not isinstance(data, dict):
        return
    for name in _FILES:
        if isinstance(data.get(name), str) and data[name] not in ("", "demo"):
            data[name] = str((folder / data[name]).resolve())


def _joined(below: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    joined = {**below, **own}
    for key, value in own.items():
        under = below.get(key)
        if isinstance(under, dict) and isinstance(value, dict):
            joined[key] = {**under, **value}
        elif isinstance(under, list) and isinstance(value, list) and value and key == "variants":
            joined[key] = _stacked(under, value)
    return joined


def _stacked(below: list[Any], own: list[Any]) -> list[Any]:
    """Return the variants of both; one of the same name takes the place of the base's."""
    by_name = {_name(variant): variant for variant in own}
    return [by_name.pop(_name(variant), variant) for variant in below] + [variant for variant in own if _name(variant) in by_name or _name(variant) is None]


def _name(variant: Any) -> str | None:
    name = variant.get("name") if isinstance(variant, dict) else None
    return name if isinstance(name, str) else None
