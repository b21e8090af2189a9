"""The command line, ``reranker``: one file a command, libraries imported only by the command that needs them."""

from __future__ import annotations

import os
import signal
import sys

import typer

from reranker import __version__, plugins
from reranker.errors import RerankerError

app = typer.Typer(
    name="reranker",
    help="Rerank BM25's hits with a small student distilled from a large relevance teacher.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
_ORDER = ("demo", "search", "index", "vectors", "serve", "evaluate", "benchmark", "distill", "pipeline", "bundle")


def _add_commands() -> None:
    """Add each installed package's subcommands; those of others come after ours."""
    points = plugins.found(plugins.COMMANDS)
    for name in sorted(points, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)):
        command = points[name].load()
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)


_add_commands()


@app.callback(invoke_without_command=True)
def root(version: bool = typer.Option(False, "--version", help="Print the version and stop.")) -> None:
    if version:
        print(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; a user's mistake ends in a message and an exit code, never a traceback."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as an exception: what is half-written is then cleared away
    try:
        app()
    except RerankerError as error:
        from rich.console import Console

        console = Console(stderr=True, soft_wrap=True)
        console.print(f"[bold red]error:[/] {_plain(error.message)}")
        if error.hint:
            console.print(_plain(error.hint))
        sys.exit(error.exit_code)
    except BrokenPipeError:  # `reranker search … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
