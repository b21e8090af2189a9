"""``python -m benchmarks experiment``: answer a question about distillation from finished runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.output import require
from reranker.cli.options import AsJson

_NAMES = "data-size, losses, targets, cross-validation, judges"


def experiment(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"One of {_NAMES}.")],
    run: Annotated[list[Path], typer.Option("--run", metavar="DIR", help="Folder of a finished run; repeat it for each fold of a cross-validation.")],
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder for result and picture. Default: experiments/ in the first run.")] = None,
    seeds: Annotated[int, typer.Option("--seeds", metavar="N", min=1, help="How many seeds each setting is tried with.")] = 3,
    first_seed: Annotated[int, typer.Option("--first-seed", metavar="N", min=0, help="The first seed; the others follow it.")] = 13,
    setting: Annotated[
        list[str] | None, typer.Option("--setting", metavar="NAME", help="Try only this setting of the experiment, such as margin_mse; may be repeated.")
    ] = None,
    student: Annotated[str, typer.Option("--student", metavar="NAME", help="Which student of the runs is trained.")] = "student",
    pairs: Annotated[int | None, typer.Option("--pairs", metavar="N", min=24, help="Labelled pairs that each student learns from. Default: all.")] = None,
    as_json: AsJson = False,
) -> None:
    """Answer a question about distillation from finished runs. Trials that were made before are not repeated.

    data-size: does quality rise with the amount of labelled data?
    losses: margins or pointwise losses?
    targets: soft or hard targets for the teacher?
    cross-validation: all rankings of runs that hold out different folds (reranker distill RECIPE --fold N), pooled.
    judges: who labels best: the embedder, a language model, the fine-tuned teacher, or a mix of them?

    data-size and losses also report how far students agree with the labels of unjudged queries that were left out of training.
    """
    require("torch", "sentence_transformers", "peft", "matplotlib")
    from rich.console import Console

    from benchmarks.experiments import EXPERIMENTS
    from benchmarks.experiments import experiment as answer

    if name not in EXPERIMENTS:
        raise typer.BadParameter(f"there is no experiment {name}; choose from {', '.join(EXPERIMENTS)}.", param_hint="NAME")
    console = Console(stderr=True, quiet=as_json, highlight=False)
    folder = out or run[0] / "experiments"
    result = answer(
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
        print(json.dumps(result, indent=2, ensure_ascii=False))
        return
    print(_table(result))
    print(f"Written: {folder / name}.json, {folder / name}.png")


def _table(result: dict[str, Any]) -> str:
    width = max(len(row["setting"]) for row in result["settings"])
    rows = [f"{result['question']}: nDCG@10 on {result['queries']} held-out queries"]
    for name, value in result["reference"].items():
        rows.append(f"  {name:<{width}}           {value['mean']:.4f}  ({value['low']:.3f} to {value['high']:.3f})")
    for row in result["settings"]:
        value = row["ndcg@10"]
        agreement = row.get("agreement_on_left_out_queries")
        suffix = "" if agreement is None else f"  agreement {agreement:.3f}"
        rows.append(f"  {row['setting']:<{width}}  {row['pairs']:>7,}  {value['mean']:.4f}  ({value['low']:.3f} to {value['high']:.3f}){suffix}")
    return "\n".join(rows)
