"""The locks agree with pyproject.toml and with each other, and every package in them has a hash. `make lock` writes them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
TESTS, IMAGE, TOOLS = (ROOT / path for path in ("tests/requirements.txt", "docker/service/requirements.txt", "docker/service/tools.txt"))
CLIENT, UV = ROOT / "tests" / "integration" / "opensearch-py-2.txt", ROOT / "tests" / "uv.txt"
BLOCK = re.compile(r"^(\S[^\n]*?)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", re.MULTILINE)


def text_of(lock: Path) -> str:
    """Return the lock without comments."""
    return "".join(line for line in lock.read_text(encoding="utf-8").splitlines(keepends=True) if not line.lstrip().startswith("#"))


def pinned(lock: Path, **environment: str) -> dict[str, Version]:
    """Return the version of each package that the lock names for an environment, by default this one."""
    found = (Requirement(requirement) for requirement, _ in BLOCK.findall(text_of(lock)))
    chosen = [one for one in found if one.marker is None or one.marker.evaluate(dict(environment))]
    assert all(re.fullmatch(r"==[^,*]+", str(one.specifier)) for one in chosen)
    versions = {canonicalize_name(one.name): Version(str(one.specifier).removeprefix("==")) for one in chosen}
    assert len(versions) == len(chosen), "a package stands there twice"
    return versions


def wanted(requirements: list[str]) -> Iterator[Requirement]:
    """Yield the requirements, with those of the project's own extras in place of the extras."""
    for requirement in map(Requirement, requirements):
        if requirement.name == PROJECT["name"]:
            for extra in requirement.extras:
                yield from wanted(PROJECT["optional-dependencies"][extra])
        else:
            yield requirement


@pytest.mark.parametrize(
    ("lock", "requirements"),
    [
        (TESTS, [*PROJECT["dependencies"], "distilled-reranker[test,docs]", *PYPROJECT["build-system"]["requires"]]),
        (IMAGE, [*PROJECT["dependencies"], "distilled-reranker[opensearch]"]),
        (TOOLS, [*PYPROJECT["dependency-groups"]["image"], *PYPROJECT["build-system"]["requires"]]),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
def test_a_lock_has_a_version_that_is_allowed_of_everything_that_is_asked_for(lock: Path, requirements: list[str]) -> None:
    versions = pinned(lock)
    asked = [one for one in wanted(requirements) if one.marker is None or one.marker.evaluate()]
    found = {str(one): versions.get(canonicalize_name(one.name)) for one in asked}
    unmet = {str(one): found[str(one)] for one in asked if (version := found[str(one)]) is None or version not in one.specifier}
    assert unmet == {}, "run `make lock`"


@pytest.mark.parametrize("lock", [TESTS, IMAGE, TOOLS, CLIENT, UV], ids=lambda lock: lock.name)
def test_every_package_has_hashes_and_none_an_address(lock: Path) -> None:
    text = text_of(lock)
    assert BLOCK.sub("", text).strip() == ""  # nothing but packages with hashes: no option, no package without
    assert "://" not in lock.read_text(encoding="utf-8")


def test_the_image_has_the_versions_that_the_tests_ran_with() -> None:
    tests = pinned(TESTS, python_full_version="3.11.9", python_version="3.11", sys_platform="linux")
    image = pinned(IMAGE)
    assert {name: (version, tests.get(name)) for name, version in image.items() if version != tests.get(name)} == {}
    assert {"fastapi", "onnxruntime", "opensearch-py"} <= image.keys()
    assert {"torch", "pytest"} & image.keys() == set()
