"""``reranker experiment``: a question about distillation, answered on finished runs with a result file and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reranker.cli.options import AsJson

_NAMES = "data-size, learning, losses, shares, targets, cross-validation, combinations, judges, neighbours"


def experiment(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"Which: {_NAMES}.")],
    run: Annotated[list[Path], typer.Option("--run", metavar="DIR", help="The folder of a finished run; once for each fold to cross-validate over.")],
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Where result and picture go; experiments/ in the first run's folder.")] = None,
    seeds: Annotated[int, typer.Option("--seeds", metavar="N", min=1, help="How many seeds a setting is tried with.")] = 3,
    first_seed: Annotated[int, typer.Option("--first-seed", metavar="N", min=0, help="The first of the seeds; the others follow it.")] = 13,
    setting: Annotated[
        list[str] | None, typer.Option("--setting", metavar="NAME", help="Try this setting of the experiment alone, such as margin_mse; several may be given.")
    ] = None,
    student: Annotated[str, typer.Option("--student", metavar="NAME", help="Which student of the runs' variants is trained.")] = "student",
    pairs: Annotated[
        int | None, typer.Option("--pairs", metavar="N", min=24, help="Labelled pairs that each student learns from; all that it may where not given.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask a question on finished runs; trials already made are not made again.

    data-size: does quality rise with the labelled data? learning: how fast and how long? losses: margins against pointwise and orders. shares: teacher,
    embedder or both as labellers; share 1 needs no judgments. targets: soft against hard, for the teacher.
    cross-validation: all rankings of runs that hold out different folds (reranker distill RECIPE --fold N), pooled.
    combinations: a bi-encoder with BM25's score added, or with a cross-encoder over the head of its ranking.
    neighbours: what it brings that product vectors lean on their neighbours' (reranker vectors).
    judges: who labels best: an embedder, its neighbourhoods, a language model beside them, and the runs' fine-tuned teacher, alone and at several shares.
    data-size, learning and losses also tell how far students follow the labels of unjudged queries that were left out.
    """
    import importlib.util

    from reranker.errors import MissingExtraError

    for library in ("torch", "sentence_transformers", "peft"):
        if importlib.util.find_spec(library) is None:
            raise MissingExtraError("reranker experiment", "distill")
    from rich.console import Console

    from benchmarks.experiments import EXPERIMENTS
    from benchmarks.experiments import experiment as make

    if name not in EXPERIMENTS:
        raise typer.BadParameter(f"there is no experiment {name}; there are {', '.join(EXPERIMENTS)}.", param_hint="NAME")
    console = Console(stderr=True, quiet=as_json, highlight=False)
    folder = out or run[0] / "experiments"
    result = make(
        name,
        run,
        out=folder,
        seeds=[first_seed + i for i in range(seeds)],
        variant=student,
        pairs=pairs,
        settings=setting or None,
        say=lambda text: console.print(f"[bold]·[/] {text}"),
    )
    if as_json:
        import json

        print(json.dumps(result, indent=2, ensure_ascii=False))
        return
    print(_table(result))
    console.print(f"Result and picture: [bold]{folder / name}.json[/], .png")


def _table(result: dict) -> str:
    width = max(len(row["setting"]) for row in result["settings"])
    rows = [f"{result['question']}: nDCG@10 on {result['queries']} held-out queries"]
    for name, value in result["reference"].items():
        rows.append(f"  {name:<{width}}           {value['mean']:.4f}  ({value['low']:.3f} to {value['high']:.3f})")
    for row in result["settings"]:
        value = row["ndcg@10"]
        followed = row.get("agreement_on_left_out_queries")
        more = "" if followed is None else f"  agreement {followed:.3f}"
        rows.append(f"  {row['setting']:<{width}}  {row['pairs']:>7,}  {value['mean']:.4f}  ({value['low']:.3f} to {value['high']:.3f}){more}")
    return "\n".join(rows)
