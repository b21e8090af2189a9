"""What other packages add to the command line, found by their entry points.

``reranker.commands``: subcommands, each a function for Typer or a ``typer.Typer``.
``reranker.first_stages``: classes of first stages that take an address and an index name.
``reranker.indexers``: functions that index a catalogue into such a first stage.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from reranker.errors import InputError

COMMANDS, FIRST_STAGES, INDEXERS = "reranker.commands", "reranker.first_stages", "reranker.indexers"


def found(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group by name; where two packages give one name, the first installed is taken."""
    points: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        points.setdefault(point.name, point)
    return points


def load(group: str, name: str) -> Any:
    """Import what an entry point names.

    Raises:
        InputError: no installed package brings it.
    """
    point = found(group).get(name)
    if point is None:
        raise InputError(f"No installed package brings {name} ({group}).", hint="Install the project again: pip install --force-reinstall distilled-reranker")
    return point.load()
