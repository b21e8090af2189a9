"""``reranker vectors``: a catalogue's product vectors, computed once at indexing time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from reranker.cli.options import AsJson, BundlePath, Catalog, Locale
from reranker.demo_data import demo_file
from reranker.neighbourhoods import DEFAULT, Neighbourhoods


def vectors(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the vectors; those it holds already are not computed again.")],
    catalog: Catalog = None,
    locale: Locale = None,
    bundle: BundlePath = None,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Threads; all cores where none is given.")] = None,
    neighbours: Annotated[
        int, typer.Option("--neighbours", min=1, help="How many products like it, itself counted, a product's vector leans on; 1: none.")
    ] = DEFAULT.most,
    skip_invalid: Annotated[bool, typer.Option("--skip-invalid", help="Leave out products that cannot be indexed, and name them.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compute a catalogue's product vectors ahead, for `reranker serve --vectors DIR`. An interrupted run goes on where it was.

    Each vector leans on those of the products like it in this catalogue, which lifts the ranking at no cost to a search: give
    the whole catalogue, and again when it has changed. `reranker evaluate --vectors DIR` tells what it brings on your judgments.
    """
    from rich.console import Console

    from reranker.errors import InputError
    from reranker.products import CatalogProblem, read_catalog
    from reranker.progress import progress
    from reranker.reranker import Reranker

    student = Reranker.load(bundle, threads=threads)
    problems: list[CatalogProblem] = []
    path = catalog or demo_file("products.jsonl.gz")
    products = list(read_catalog(path, on_problem="skip" if skip_invalid else "refuse", problems=problems, locale=locale))
    console = Console(stderr=True, quiet=as_json)
    try:
        with progress("product vectors", len(products) * (2 if neighbours > 1 else 1), console) as advance:  # read, and leant on their neighbours'
            made = student.store_vectors(out, products, neighbourhoods=Neighbourhoods(most=neighbours), on_products=advance, on_leant=advance)
    except OSError as error:
        raise InputError(f"The vectors cannot be written to {out}: {error.strerror}.", hint="What is there already is kept; run it again.") from error
    if as_json:
        left_out = [one.as_dict() for one in problems]
        print(json.dumps({"products": len(products), "computed": made, "bundle": student.model, "left_out": left_out}, ensure_ascii=False))
        return
    print(f"Vectors of {len(products):,} products are in {out} ({made:,} of them new). Serve with them: reranker serve --vectors {out}")
    for one in problems:
        print(f"  left out: {one}")
