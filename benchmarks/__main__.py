"""The project's measurements: ``python -m benchmarks`` lists them. They need a checkout; the wheel does not contain them."""

from __future__ import annotations

import sys

import typer

from benchmarks.experiments.command import experiment
from benchmarks.first_stage import first_stage
from benchmarks.labelling import labelling
from benchmarks.load.command import load
from benchmarks.soak.command import soak
from benchmarks.speed.command import profile, scale, speed
from reranker.errors import RerankerError

app = typer.Typer(
    name="python -m benchmarks",
    help="Measure speed, scale and load, and run the experiments. benchmarks/README.md says how long each command takes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (speed, profile, scale, load, soak, first_stage, labelling, experiment):
    app.command(command.__name__.replace("_", "-"))(command)


def main() -> None:
    """Run the command line. A user's mistake ends in a message and an exit code, without a traceback."""
    try:
        app()
    except RerankerError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
