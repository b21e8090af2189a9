"""``reranker benchmark``: bundles beside what else one could use, in one run: quality, time, where it goes, how it grows, what it costs."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from reranker.cli.console import output_console
from reranker.cli.options import DEFAULT_INDEX, AsJson, open_first_stage
from reranker.errors import InputError, RerankerError

if TYPE_CHECKING:
    from rich.console import Console

    from benchmarks.speed.contenders.line_up import Wanted
    from benchmarks.speed.settings import Settings
    from reranker.bundle import Bundle
    from reranker.first_stage import FirstStage

_CORE_HOUR_PRICE = 0.04  # about what clouds ask for an hour of one virtual core, in the currency of your bill
_OTHERS, _COST = "What else to compare with", "Cost"


def benchmark(
    bundle: Annotated[
        list[Path] | None, typer.Option("--bundle", metavar="DIR|NAME", help="A bundle to compare; repeat it for more. The shipped one takes part anyway.")
    ] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Instead: where the microseconds of one reranked query go, for the first bundle.")] = False,
    scale: Annotated[bool, typer.Option("--scale", help="Instead: how time grows with hits, document length and clients, and the cost.")] = False,
    rounds: Annotated[int | None, typer.Option("--rounds", min=1, help="How often each query is timed. [default: 5; 3 with --scale]")] = None,
    queries: Annotated[int | None, typer.Option("--queries", metavar="N", min=1, help="How many queries are timed. [default: 20; 10 with --scale]")] = None,
    k: Annotated[list[int] | None, typer.Option("--k", help="Hits of a query; repeat it for more. [default: 50 and 100]")] = None,
    threads: Annotated[int | None, typer.Option("--threads", help="Cores to use, the same for all. [default: all]")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A look in little time: too little to conclude from.")] = False,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where results and pictures go.")] = Path("benchmark"),
    cross_encoder: Annotated[
        Path | None,
        typer.Option(
            "--cross-encoder",
            metavar="FOLDER",
            help="A trained cross-encoder, as CrossEncoder.save_pretrained wrote it. Without one, an untrained head is timed.",
            rich_help_panel=_OTHERS,
        ),
    ] = None,
    infinity_python: Annotated[
        Path | None, typer.Option("--infinity-python", metavar="PATH", help="A Python that has infinity-emb.", rich_help_panel=_OTHERS)
    ] = None,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="NAME", help="Compare only these; repeat it for more.", rich_help_panel=_OTHERS)] = None,
    core_hour_price: Annotated[
        float, typer.Option("--core-hour-price", min=0, help="What an hour of one core costs you: an assumption.", rich_help_panel=_COST)
    ] = _CORE_HOUR_PRICE,
    as_json: AsJson = False,
) -> None:
    """Time bundles and what else one could use on the same queries, hits and threads, in alternating rounds; with nDCG@10 beside.

    The demo's queries and catalogue; quality only on intents that no bundle given was trained on. Results: OUT/benchmark.json
    and .png (or profile.json; scale.json and .png).
    """
    for library in ("ir_measures", "matplotlib"):
        if importlib.util.find_spec(library) is None:  # as in the service's container image
            raise RerankerError(f"The benchmark needs {library}, which is not installed.", hint="Install the whole project: pip install distilled-reranker")
    from rich.console import Console

    from benchmarks.speed.contenders.checkpoint import check_folder
    from benchmarks.speed.contenders.infinity import check_interpreter
    from benchmarks.speed.contenders.line_up import Wanted, check_only
    from benchmarks.speed.machine import keep_to
    from benchmarks.speed.settings import settings
    from reranker.demo_data import demo_file

    chosen = settings(queries, rounds, k or [], quick=quick, scale=scale)
    wanted = Wanted(
        bundles=_bundles(bundle or []),
        cross_encoder=None if cross_encoder is None else check_folder(cross_encoder),
        infinity_python=None if infinity_python is None else check_interpreter(infinity_python),
        only=check_only(only or []),
    )
    folder = _folder(out)
    first_stage = open_first_stage(None, DEFAULT_INDEX, demo_file("products.jsonl.gz"), quiet=as_json)
    work = _Work(first_stage, wanted, chosen, keep_to(threads), core_hour_price, folder, Console(stderr=True, quiet=as_json), as_json)
    try:
        if profile:
            _profile(work)
        if scale:
            _scale(work)
        if not profile and not scale:
            _compare(work)
    finally:
        first_stage.close()


class _Work(NamedTuple):
    """What each kind of benchmark needs. ``progress`` is standard error; nothing is said there with --json."""

    first_stage: FirstStage
    wanted: Wanted
    settings: Settings
    threads: int
    core_hour_price: float
    folder: Path
    progress: Console
    as_json: bool


def _compare(work: _Work) -> None:
    from benchmarks.speed.comparison import compare
    from benchmarks.speed.comparison_picture import draw_comparison
    from benchmarks.speed.contenders.line_up import line_up
    from benchmarks.speed.rounds import QUERIES_AT_A_TURN
    from benchmarks.speed.table import print_comparison

    with _steps(work.progress) as (say, advance, expect), line_up(work.wanted, work.first_stage, work.threads, say) as lined_up:
        expect(len(lined_up.contenders) * work.settings.rounds * -(-work.settings.queries // QUERIES_AT_A_TURN))
        report = compare(
            work.first_stage, work.wanted, lined_up, work.settings, threads=work.threads, core_hour_price=work.core_hour_price, say=say, on_turn=advance
        )
    draw_comparison(report, work.folder / "benchmark.png")
    _tell(work, "benchmark", report.as_dict(), lambda console: print_comparison(report, console))


def _profile(work: _Work) -> None:
    from benchmarks.speed.profile import profile
    from benchmarks.speed.table import print_profile

    called, bundle = next(iter(work.wanted.bundles.items()))
    with _steps(work.progress) as (say, advance, expect):
        expect(work.settings.rounds + 1)
        found = profile(work.first_stage, bundle, called, work.settings, threads=work.threads, say=say, on_round=advance)
    _tell(work, "profile", found.as_dict(), lambda console: print_profile(found, console))


def _scale(work: _Work) -> None:
    from benchmarks.speed.scale import measure_scale
    from benchmarks.speed.scale_picture import draw_scale
    from benchmarks.speed.table import print_scale

    called, bundle = next(iter(work.wanted.bundles.items()))
    with _steps(work.progress) as (say, _, _):
        found = measure_scale(work.first_stage, bundle, called, work.settings, threads=work.threads, core_hour_price=work.core_hour_price, say=say)
    draw_scale(found, work.folder / "scale.png")
    _tell(work, "scale", found.as_dict(), lambda console: print_scale(found, console))


def _tell(work: _Work, name: str, result: dict[str, Any], show: Callable[[Console], None]) -> None:
    """Write the result's file, and print it."""
    text = json.dumps(result, indent=2, ensure_ascii=False)
    path = work.folder / f"{name}.json"
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}.", hint="Give --out a folder that you may write to.") from error
    if work.as_json:
        print(text)
        return
    show(output_console())
    beside = f", {path.with_suffix('.png')}" if path.with_suffix(".png").exists() else ""
    print(f"Written: {path}{beside}")


@contextmanager
def _steps(console: Console) -> Iterator[tuple[Callable[[str], None], Callable[[str], None], Callable[[int], None]]]:
    """Show progress; gives what names a step, what names the next of the counted steps, and what says how many there will be."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    # drawn only when something changes: a thread that redraws ten times a second would be measured too
    with Progress(*columns, console=console, auto_refresh=False, disable=console.quiet) as progress:
        task = progress.add_task("…", total=None)

        def show(text: str, advance: int = 0) -> None:
            progress.update(task, description=text, advance=advance)
            progress.refresh()

        yield show, lambda text: show(text, 1), lambda total: progress.update(task, total=total)


def _bundles(given: list[Path]) -> dict[str, Bundle]:
    """Load the bundles given and the shipped one, by what to call them: a name, or a folder's, numbered where two are called the same.

    Raises:
        BundleError: one is incomplete or corrupt.
    """
    from reranker.bundle import load_bundle

    loaded: dict[str, Bundle] = {}
    for path in given or []:
        _add(loaded, path.resolve().name if path.exists() else str(path), load_bundle(path))
    shipped = load_bundle(None)
    if all(bundle.path.resolve() != shipped.path.resolve() for bundle in loaded.values()):
        _add(loaded, "default", shipped)
    return loaded


def _add(loaded: dict[str, Bundle], called: str, bundle: Bundle) -> None:
    number = 1
    while (name := called if number == 1 else f"{called}-{number}") in loaded:
        number += 1
    loaded[name] = bundle


def _folder(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out} cannot be made: {error.strerror}.", hint="Give --out a folder that you may write to.") from error
    return out
