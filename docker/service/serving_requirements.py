"""Print what the image needs of the project's dependencies: all but what only `reranker evaluate` uses, a third of the size."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

EVALUATION = {"ir-measures", "matplotlib"}

project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
for requirement in project["dependencies"]:
    name = re.match(r"[\w.-]+", requirement)
    if name and name.group() not in EVALUATION:
        print(requirement)
