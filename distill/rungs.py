"""A rung of the ladder: a student of one size, trained and exported."""

from __future__ import annotations

from typing import NamedTuple

from distill.recipe import Student
from distill.stages import Stage


class MadeRung(NamedTuple):
    """A rung after its two stages; ``settings`` is what it was trained by."""

    name: str
    settings: Student
    student: Stage
    export: Stage
