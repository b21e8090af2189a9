"""What a hostile case is."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import NamedTuple

from tests.hostile.raw_http import Address, Answer, connect, exchange

Outcome = int | str
CLOSED = "closed"
"""The service hung up without a complete answer."""


class Target(NamedTuple):
    """The service under attack. ``warm_mb``: its resident memory after warming up."""

    address: Address
    pid: int
    warm_mb: float


Attack = Callable[[Target], Generator[None, None, Iterable[Answer | str]]]
"""Whenever it yields, a good request is sent while the attack goes on. It returns what its connections came to."""


class Case(NamedTuple):
    """``attack``: bytes to send on one connection, several such, one after the other, or a function for what needs more. ``allowed``: outcomes that are right.
    ``says``: what the answer must name. ``answers``: how many answers the bytes get."""

    name: str
    attack: bytes | tuple[bytes, ...] | Attack
    allowed: set[Outcome]
    says: str = ""
    answers: int = 1


def outcomes(answers: Iterable[Answer | str]) -> set[Outcome]:
    return {answer.status if isinstance(answer, Answer) else answer for answer in answers}


def one_exchange(address: Address, data: bytes, answers: int = 1, *, source: str | None = None) -> list[Answer | str]:
    """Send bytes on a connection of their own, and return the answers, with ``CLOSED`` at the end if there are fewer than asked for."""
    with connect(address, source=source) as connection:
        found = exchange(connection, data, answers=answers, head=data.startswith(b"HEAD "))
    return [*found, *([CLOSED] if len(found) < answers else [])]


def large(make: Callable[[], bytes]) -> Attack:
    """An attack by bytes that are too many to keep: they are made when they are sent."""

    def attack(target: Target) -> Generator[None, None, Iterable[Answer | str]]:
        yield from ()
        return one_exchange(target.address, make())

    return attack
