"""``reranker vectors``: computes a catalogue's product vectors at indexing time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from reranker.cli.options import AsJson, BundlePath, Catalog, Locale
from reranker.demo_data import demo_file


def vectors(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the vectors. Those it holds already are not computed again.")],
    catalog: Catalog = None,
    locale: Locale = None,
    bundle: BundlePath = None,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Number of threads. Default: all cores.", show_default=False)] = None,
    skip_invalid: Annotated[bool, typer.Option("--skip-invalid", help="Skip products that cannot be indexed, and list them.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compute a catalogue's product vectors in advance, for `reranker serve --vectors DIR`.

    Run it again when the catalogue has changed: only new products are computed. An interrupted run can be continued.
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
        with progress("product vectors", len(products), console) as advance:
            computed = student.store_vectors(out, products, on_products=advance)
    except OSError as error:
        raise InputError(
            f"The vectors cannot be written to {out}: {error.strerror}.", hint="Vectors written so far are kept. Choose another folder, or run it again."
        ) from error
    if as_json:
        left_out = [one.as_dict() for one in problems]
        print(json.dumps({"products": len(products), "computed": computed, "bundle": student.model, "left_out": left_out}, ensure_ascii=False))
        return
    print(f"Vectors of {len(products):,} products are in {out} ({computed:,} of them new). Serve them: reranker serve --index NAME --vectors {out}")
    for one in problems:
        print(f"  left out: {one}")
