"""The command line, ``reranker``: puts together the subcommands of all installed packages."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any

import typer

from reranker import __version__, plugins
from reranker.errors import MissingExtraError, RerankerError

_EXIT_CODES = (
    "Exit codes: 0 success · 1 other failure, or a failed check · 2 unusable input, option or missing extra · 3 unusable bundle · "
    "4 OpenSearch, an index or a service is missing or refuses · 5 the gate refused a distilled student · 130 Ctrl-C · 143 SIGTERM"
)
_ORDER = ("demo", "search", "index", "vectors", "serve", "evaluate", "benchmark", "distill", "pipeline", "bundle")
_TAKES_ANYTHING = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}

app = typer.Typer(
    name="reranker",
    help="Rerank BM25's hits with a small student distilled from a large relevance teacher.",
    epilog=_EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def add_commands(to: typer.Typer) -> None:
    """Add each installed package's subcommands to an app; those that this release does not know come last.

    Subcommands whose libraries are missing are listed too. When called, they raise ``MissingExtraError``.
    """
    points = plugins.found(plugins.COMMANDS)
    for name in sorted(points, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)):
        try:
            command = points[name].load()
        except ModuleNotFoundError as error:
            extra = _extra_of(points[name])
            to.command(name, help=f"Not available: needs the extra {extra}.", context_settings=_TAKES_ANYTHING)(_missing(name, extra, error))
            continue
        if isinstance(command, typer.Typer):
            to.add_typer(command, name=name)
        else:
            to.command(name)(command)


def _extra_of(point: EntryPoint) -> str:
    """Return the extra that a subcommand needs: the one of its name, else the first that its package offers."""
    offered: list[str] = list(point.dist.metadata.get_all("Provides-Extra") or []) if point.dist is not None else []
    return point.name if point.name in offered or not offered else offered[0]


def _missing(name: str, extra: str, error: ModuleNotFoundError) -> Callable[[], Any]:
    def command() -> None:
        raise MissingExtraError(f"`reranker {name}`", extra) from error

    return command


add_commands(app)


@app.callback(invoke_without_command=True)
def root(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        print(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line. A user's mistake ends in a message and an exit code, never in a traceback."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as an exception, so that incomplete files are removed
    try:
        try:
            app()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except RerankerError as error:
        _report(error.message, error.hint)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # `reranker search … | head`
        _drop_output()
        sys.exit(1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
            raise
        _drop_output()
        _report(f"{error.filename or 'The output'} cannot be written: {error.strerror}.", "Free some space there, or write to another disk.")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _drop_output() -> None:
    """Send what is still to be written to nowhere: Python would try again when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(message: str, hint: str | None) -> None:
    from rich.markup import escape

    from reranker.terminal import Terminal

    console = Terminal(stderr=True, soft_wrap=True)
    console.print(f"[bold red]error:[/] {escape(message)}")
    if hint:
        console.print(escape(hint))
