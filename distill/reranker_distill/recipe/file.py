"""Recipe files: finding, reading, joining with the recipe they extend, and printing every key."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from reranker.demo_data import demo_file
from reranker.errors import RecipeError
from reranker_distill.recipe.recipe import Recipe
from reranker_distill.recipe.settings import StudentVariant

EXTENDS = "extends"
"""The key that names the recipe a file extends."""

_DATA_FILES = ("catalog", "judgments", "query_log")


def shipped_recipes() -> dict[str, Path]:
    """Return the recipes that come with the package, by name."""
    folder = Path(str(resources.files("reranker_distill.recipe") / "shipped"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_recipe(name_or_path: str) -> tuple[Recipe, Path]:
    """Read a recipe by path, or a shipped one by name.

    Raises:
        RecipeError: there is none, it is not TOML, or a key is unknown or has an unusable value; of it or of one that it extends.
    """
    path = _find(name_or_path, Path())
    try:
        recipe = Recipe.model_validate(_read_keys(path))
    except ValidationError as error:
        problems = "".join(f"\n  {_problem(each)}" for each in error.errors())
        raise RecipeError(f"The recipe {path} is wrong:{problems}", hint="All keys, with their defaults: reranker distill --keys") from error
    if recipe.data.judgments and recipe.data.held_out_fold >= recipe.data.folds:
        raise RecipeError(f"The recipe {path} holds out fold {recipe.data.held_out_fold} of {recipe.data.folds}.", hint="Folds count from 0.")
    return recipe, path


def data_file(value: str, recipe_path: Path, demo_name: str) -> Path:
    """Return the file that a [data] entry stands for; relative paths start at the recipe's folder."""
    path = demo_file(demo_name) if value == "demo" else (recipe_path.parent / value).resolve()
    if not path.is_file():
        raise RecipeError(f"The recipe {recipe_path} names {value}, and there is no file {path}.", hint="Paths start at the recipe's folder.")
    return path


def format_keys() -> str:
    """Return every key that a recipe may have as TOML, with default and meaning; keys without a default are commented out."""
    lines = ['name = "my-shop"', '# extends = "demo"  # take from this recipe, by name or path, what is not given here']
    for name, field in Recipe.model_fields.items():
        section = field.default
        if name == "template":  # rarely changed, so it takes one line
            lines.append(f"template = {{ {', '.join(f'{key} = {_toml(value)}' for key, value in section.model_dump(mode='json').items())} }}")
        elif isinstance(section, BaseModel):
            lines.append(f"[{name}]  # {(type(section).__doc__ or '').splitlines()[0]}")
            lines += [_key_line(key, own.default, own.description) for key, own in type(section).model_fields.items()]
        elif name not in ("name", "variants"):
            lines.append(_key_line(name, section, field.description))
    return "\n".join([*lines, f"# [[variants]]  # further students, else as in [student], with the keys {', '.join(StudentVariant.model_fields)}"])


def _key_line(name: str, default: Any, meaning: str | None) -> str:
    comment = f"  # {meaning}" if meaning else ""
    return f"# {name} ={comment or '  # not set'}" if default is None else f"{name} = {_toml(default)}{comment}"


def _toml(value: Any) -> str:
    return "{}" if value == {} else json.dumps(value, ensure_ascii=False)


def _find(name_or_path: str, folder: Path) -> Path:
    path = folder / name_or_path
    if path.is_file():
        return path
    shipped = shipped_recipes()
    if name_or_path not in shipped:
        raise RecipeError(f"There is no recipe {name_or_path}.", hint=f"Give a TOML file, or one of: {', '.join(shipped)}.")
    return shipped[name_or_path]


def _problem(error: ErrorDetails) -> str:
    """Return where a recipe is wrong, and why; the place is left out where the recipe as a whole is wrong."""
    unknown = error["type"] == "extra_forbidden"
    message = "there is no such key (misspelt, or removed: see the changelog)" if unknown else error["msg"].removeprefix("Value error, ")
    return ": ".join([".".join(map(str, error["loc"])), message] if error["loc"] else [message])


def _read_keys(path: Path, extended_by: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return a file's keys over those of the recipe that it extends, and so on; values are not checked.

    Sections are joined key by key. A variant replaces the base's variant of that name, or is added at the end;
    ``variants = []`` leaves the base's out. Relative files of a base start at the base's folder.

    Raises:
        RecipeError: a file is no TOML, there is no such base, or it extends itself.
    """
    if path.resolve() in extended_by:
        raise RecipeError(f"The recipe {path} extends itself.", hint="Remove `extends` from one of: " + ", ".join(map(str, extended_by)))
    try:
        own = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"The recipe {path} is not valid TOML: {error}", hint="Correct the line named above.") from error
    base_name = own.pop(EXTENDS, None)
    if base_name is None:
        return own
    if not isinstance(base_name, str):
        raise RecipeError(f"The recipe {path} is wrong:\n  {EXTENDS}: a recipe's name or path, as text", hint='For example: extends = "demo"')
    base_path = _find(base_name, path.parent)
    base = _read_keys(base_path, (*extended_by, path.resolve()))
    _resolve_files(base, base_path.parent)
    return _join({key: value for key, value in base.items() if key != "name"}, own)


def _resolve_files(keys: Mapping[str, Any], folder: Path) -> None:
    data = keys.get("data")
    if not isinstance(data, dict):
        return
    for name in _DATA_FILES:
        if isinstance(data.get(name), str) and data[name] not in ("", "demo"):
            data[name] = str((folder / data[name]).resolve())


def _join(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    joined = {**base, **own}
    for key, value in own.items():
        base_value = base.get(key)
        if isinstance(base_value, dict) and isinstance(value, dict):
            joined[key] = {**base_value, **value}
        elif isinstance(base_value, list) and isinstance(value, list) and value and key == "variants":
            joined[key] = _join_variants(base_value, value)
    return joined


def _join_variants(base: list[Any], own: list[Any]) -> list[Any]:
    by_name = {_name(variant): variant for variant in own}
    replaced = [by_name.pop(_name(variant), variant) for variant in base]
    return replaced + [variant for variant in own if _name(variant) in by_name or _name(variant) is None]


def _name(variant: Any) -> str | None:
    name = variant.get("name") if isinstance(variant, dict) else None
    return name if isinstance(name, str) else None
