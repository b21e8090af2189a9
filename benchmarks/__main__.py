"""Measure the project: ``python -m benchmarks`` lists what there is. Needs a checkout; nothing here is in the wheel."""

from __future__ import annotations

import typer

from benchmarks.experiments.command import experiment
from benchmarks.speed.command import benchmark

app = typer.Typer(name="benchmarks", help="Measure quality, speed, scale and load, and run the experiments.", no_args_is_help=True, add_completion=False)
app.command("speed")(benchmark)
app.command("experiment")(experiment)

if __name__ == "__main__":
    app()
