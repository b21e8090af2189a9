"""``python -m benchmarks speed``, ``profile`` and ``scale``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from benchmarks.output import DEFAULT_OUT, Out, output_folder, require, write_result
from reranker.cli.options import DEFAULT_INDEX, AsJson, open_first_stage, output_console

if TYPE_CHECKING:
    from rich.console import Console

    from reranker.bundle import Bundle
    from reranker.first_stage import FirstStage

Bundles = Annotated[
    list[Path] | None, typer.Option("--bundle", metavar="DIR|NAME", help="A bundle to measure; may be repeated. The shipped one is always included.")
]
OneBundle = Annotated[Path | None, typer.Option("--bundle", metavar="DIR|NAME", help="The bundle to measure. Default: the shipped one.")]
Rounds = Annotated[int | None, typer.Option("--rounds", min=1, help="How often each query is timed. Default: 5; scale: 3.")]
Queries = Annotated[int | None, typer.Option("--queries", metavar="N", min=1, help="How many queries are timed. Default: 20; scale: 10.")]
Hits = Annotated[list[int] | None, typer.Option("--k", help="Hits of a query; may be repeated. Default: 50 and 100.")]
OneK = Annotated[int | None, typer.Option("--k", help="Hits of a query. Default: 50.")]
Threads = Annotated[int | None, typer.Option("--threads", help="Cores to use, the same for every system. Default: all.")]
Quick = Annotated[bool, typer.Option("--quick", help="A smoke test: too few queries and rounds for conclusions.")]
CoreHourPrice = Annotated[float, typer.Option("--core-hour-price", min=0, help="Price of one core for an hour: an assumption, in your currency.")]
_CORE_HOUR_PRICE = 0.04  # about what clouds charge for one virtual core


def speed(
    bundle: Bundles = None,
    rounds: Rounds = None,
    queries: Queries = None,
    k: Hits = None,
    threads: Threads = None,
    quick: Quick = False,
    out: Out = DEFAULT_OUT,
    cross_encoder: Annotated[
        Path | None,
        typer.Option(
            "--cross-encoder", metavar="FOLDER", help="A trained cross-encoder, written by CrossEncoder.save_pretrained. Default: one with an untrained head."
        ),
    ] = None,
    infinity_python: Annotated[
        Path | None, typer.Option("--infinity-python", metavar="PATH", help="A Python interpreter that has infinity-emb installed.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="NAME", help="Compare only this system; may be repeated.")] = None,
    core_hour_price: CoreHourPrice = _CORE_HOUR_PRICE,
    as_json: AsJson = False,
) -> None:
    """Compare bundles with other rerankers: nDCG@10, and latency on the same queries, hits and threads, in interleaved rounds.

    Queries and catalogue are the demo's. Quality counts only intents that no given bundle was trained on. Writes benchmark.json and benchmark.png.
    """
    require("ir_measures", "matplotlib")
    from benchmarks.speed.comparison import compare
    from benchmarks.speed.comparison_picture import draw_comparison
    from benchmarks.speed.interleaved_timing import QUERIES_AT_A_TURN
    from benchmarks.speed.settings import settings
    from benchmarks.speed.systems.infinity import check_interpreter
    from benchmarks.speed.systems.registry import Selection, check_only, load_systems
    from benchmarks.speed.systems.shared_checkpoint import check_folder
    from benchmarks.speed.tables import print_comparison

    chosen = settings(queries, rounds, k or [], quick=quick)
    selection = Selection(
        bundles=_bundles(bundle or [], with_shipped=True),
        cross_encoder=None if cross_encoder is None else check_folder(cross_encoder),
        infinity_python=None if infinity_python is None else check_interpreter(infinity_python),
        only=check_only(only or []),
    )
    with (
        _measuring(out, threads, as_json) as job,
        _steps(job.progress) as (say, advance, expect),
        load_systems(selection, job.first_stage, job.threads, say) as loaded,
    ):
        expect(len(loaded.systems) * chosen.rounds * -(-chosen.queries // QUERIES_AT_A_TURN))
        report = compare(job.first_stage, selection, loaded, chosen, threads=job.threads, core_hour_price=core_hour_price, say=say, on_turn=advance)
    draw_comparison(report, job.folder / "benchmark.png")
    _show(job, "benchmark", report.as_dict(), lambda console: print_comparison(report, console))


def profile(
    bundle: OneBundle = None,
    rounds: Rounds = None,
    queries: Queries = None,
    k: OneK = None,
    threads: Threads = None,
    quick: Quick = False,
    out: Out = DEFAULT_OUT,
    as_json: AsJson = False,
) -> None:
    """Time each stage of one reranked query, and what the HTTP service adds. Writes benchmark-profile.json."""
    require("ir_measures")
    from benchmarks.speed.profile import measure_profile
    from benchmarks.speed.settings import settings
    from benchmarks.speed.tables import print_profile

    chosen = settings(queries, rounds, [k or (10 if quick else 50)], quick=quick)
    ((name, measured),) = _bundles([bundle] if bundle else []).items()
    with _measuring(out, threads, as_json) as job, _steps(job.progress) as (say, advance, expect):
        expect(chosen.rounds + 1)
        found = measure_profile(job.first_stage, measured, name, chosen, threads=job.threads, say=say, on_round=advance)
    _show(job, "benchmark-profile", found.as_dict(), lambda console: print_profile(found, console))


def scale(
    bundle: OneBundle = None,
    rounds: Rounds = None,
    queries: Queries = None,
    threads: Threads = None,
    quick: Quick = False,
    out: Out = DEFAULT_OUT,
    core_hour_price: CoreHourPrice = _CORE_HOUR_PRICE,
    as_json: AsJson = False,
) -> None:
    """Measure how latency grows with hits, document length and concurrent clients, and the cost. Writes benchmark-scale.json and benchmark-scale.png."""
    require("ir_measures", "matplotlib")
    from benchmarks.speed.scale import measure_scale
    from benchmarks.speed.scale_picture import draw_scale
    from benchmarks.speed.settings import settings
    from benchmarks.speed.tables import print_scale

    chosen = settings(queries, rounds, [], quick=quick, scale=True)
    ((name, measured),) = _bundles([bundle] if bundle else []).items()
    with _measuring(out, threads, as_json) as job, _steps(job.progress) as (say, _, _):
        found = measure_scale(job.first_stage, measured, name, chosen, threads=job.threads, core_hour_price=core_hour_price, say=say)
    draw_scale(found, job.folder / "benchmark-scale.png")
    _show(job, "benchmark-scale", found.as_dict(), lambda console: print_scale(found, console))


class _Job(NamedTuple):
    """What all three commands need. ``progress`` writes to stderr, and nothing with --json."""

    first_stage: FirstStage
    threads: int
    folder: Path
    progress: Console
    as_json: bool


@contextmanager
def _measuring(out: Path, threads: int | None, as_json: bool) -> Iterator[_Job]:
    """Create the output folder, limit the cores, and open the demo's first stage."""
    from rich.console import Console

    from benchmarks.machine import keep_to
    from reranker.demo_data import demo_file

    folder = output_folder(out)
    cores = keep_to(threads)
    first_stage = open_first_stage(None, DEFAULT_INDEX, demo_file("products.jsonl.gz"), quiet=as_json)
    try:
        yield _Job(first_stage, cores, folder, Console(stderr=True, quiet=as_json), as_json)
    finally:
        first_stage.close()


def _show(job: _Job, name: str, result: dict[str, Any], show: Callable[[Console], None]) -> None:
    """Write the result file, and print the result."""
    path = job.folder / f"{name}.json"
    text = write_result(path, result)
    if job.as_json:
        print(text)
        return
    show(output_console())
    picture = f", {path.with_suffix('.png')}" if path.with_suffix(".png").exists() else ""
    print(f"Written: {path}{picture}")


@contextmanager
def _steps(console: Console) -> Iterator[tuple[Callable[[str], None], Callable[[str], None], Callable[[int], None]]]:
    """Show a progress bar. Yields three functions: name the current step, name the next counted step, set the number of counted steps."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    # no refresh thread: redrawing ten times a second would take part in the measurement
    with Progress(*columns, console=console, auto_refresh=False, disable=console.quiet) as progress:
        task = progress.add_task("…", total=None)

        def show(text: str, advance: int = 0) -> None:
            progress.update(task, description=text, advance=advance)
            progress.refresh()

        yield show, lambda text: show(text, 1), lambda total: progress.update(task, total=total)


def _bundles(given: list[Path], *, with_shipped: bool = False) -> dict[str, Bundle]:
    """Load bundles by display name: the shipped name, or the folder's name, numbered where two are equal.

    The shipped bundle is loaded ``with_shipped``, and where none is given.

    Raises:
        BundleError: one is incomplete or corrupt.
    """
    from reranker.bundle import load_bundle

    loaded: dict[str, Bundle] = {}
    for path in given:
        _add(loaded, path.resolve().name if path.exists() else str(path), load_bundle(path))
    if not given or with_shipped:
        shipped = load_bundle(None)
        if all(bundle.path.resolve() != shipped.path.resolve() for bundle in loaded.values()):
            _add(loaded, "default", shipped)
    return loaded


def _add(loaded: dict[str, Bundle], name: str, bundle: Bundle) -> None:
    number = 1
    while (unique := name if number == 1 else f"{name}-{number}") in loaded:
        number += 1
    loaded[unique] = bundle
