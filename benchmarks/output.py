"""What all commands share: the option ``--out``, the result file, and the check for libraries that are not installed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from reranker.errors import InputError, RerankerError

Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the result file and the picture.")]
DEFAULT_OUT = Path("results")


def require(*libraries: str) -> None:
    """Check that libraries are installed.

    Raises:
        RerankerError: one is missing.
    """
    for library in libraries:
        if importlib.util.find_spec(library) is None:
            raise RerankerError(f"This command needs {library}, which is not installed.", hint='In the checkout: pip install -e ".[test]"')


def output_folder(out: Path) -> Path:
    """Create the folder for results.

    Raises:
        InputError: it cannot be created.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out} cannot be created: {error.strerror}.", hint="Give --out a folder that you may write to.") from error
    return out


def write_result(path: Path, result: dict[str, Any]) -> str:
    """Write a result as JSON, and return the text.

    Raises:
        InputError: the file cannot be written.
    """
    text = json.dumps(result, indent=2, ensure_ascii=False)
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}.", hint="Give --out a folder that you may write to.") from error
    return text
