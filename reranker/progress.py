"""Progress of a long step: a bar on a terminal, a line per minute in a log; and a counter where the total is unknown."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from reranker.terminal import Terminal

LINES_EVERY_S = 60.0
"""Seconds between lines in a log, where rich would print a bar only at the end."""


@contextmanager
def progress(what: str, total: int, console: Console) -> Iterator[Callable[[int], None]]:
    """Show how many of ``total`` are done and the time left. Yields a function to call with the number of further items done."""
    if console.is_terminal or console.quiet:
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(what, total=total)
            yield lambda n: bar.advance(task, n)
        return
    began = printed = since = time.monotonic()
    done = before = 0  # the first call may include earlier work or the loading of a model, so the rate is measured from it

    def advance(n: int) -> None:
        nonlocal done, before, printed, since
        now = time.monotonic()
        if not done:
            before, since = n, now
        done += n
        if now - printed >= LINES_EVERY_S:
            printed = now
            left = f", {timedelta(seconds=round((total - done) * (now - since) / (done - before)))} left" if done > before else ""
            console.print(f"  {what}: {done:,} of {total:,}{left}")

    yield advance
    console.print(f"  {what}: {done:,} of {total:,} in {timedelta(seconds=round(time.monotonic() - began))}")


@contextmanager
def counting_products(catalogue: str, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """Show how many products are indexed, on stderr. Yields a function to call after each product."""
    columns = (SpinnerColumn(), TextColumn("Indexing {task.description}: {task.completed:,.0f} products"), TimeElapsedColumn())
    with Progress(*columns, console=Terminal(stderr=True), disable=quiet) as shown:
        task = shown.add_task(catalogue, total=None)
        yield lambda: shown.advance(task)
