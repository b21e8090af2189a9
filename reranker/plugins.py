"""Entry points by which other packages extend the command line.

``reranker.commands``: subcommands, each a function for Typer or a ``typer.Typer``.
``reranker.first_stages``: first stages, each a class that takes an address and an index name.
``reranker.indexers``: functions that index a catalogue for such a first stage.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from reranker.errors import InputError, MissingExtraError

COMMANDS, FIRST_STAGES, INDEXERS = "reranker.commands", "reranker.first_stages", "reranker.indexers"


def found(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group by name. If two packages use one name, the first one found counts."""
    points: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        points.setdefault(point.name, point)
    return points


def load(group: str, name: str) -> Any:
    """Import the object of an entry point.

    Raises:
        InputError: no installed package provides it.
        MissingExtraError: a library that it needs is not installed; the extra has the entry point's name.
    """
    point = found(group).get(name)
    if point is None:
        raise InputError(f"No installed package provides {name} ({group}).", hint="Install the project again: pip install --force-reinstall distilled-reranker")
    try:
        return point.load()
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"--{name}", name) from error
