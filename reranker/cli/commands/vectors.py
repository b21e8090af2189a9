"""``reranker vectors``: computes a catalogue's product vectors at indexing time."""

from __future__ import annotations

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
    from reranker.errors import printable
    from reranker.folders import explain_unwritten
    from reranker.products import CatalogProblem, read_catalog
    from reranker.progress import progress
    from reranker.reranker import Reranker
    from reranker.terminal import Terminal, json_text

    student = Reranker.load(bundle, threads=threads)
    problems: list[CatalogProblem] = []
    path = catalog or demo_file("products.jsonl.gz")
    products = list(read_catalog(path, on_problem="skip" if skip_invalid else "refuse", problems=problems, locale=locale))
    console = Terminal(stderr=True, quiet=as_json)
    hint = "Vectors written so far are kept. Choose another folder, or run it again."
    with explain_unwritten("The vectors", out, hint), progress("product vectors", len(products), console) as advance:
        computed = student.store_vectors(out, products, on_products=advance)
    if as_json:
        left_out = [one.as_dict() for one in problems]
        print(json_text({"products": len(products), "computed": computed, "bundle": student.model, "left_out": left_out}))
        return
    where = printable(str(out))
    print(f"Vectors of {len(products):,} products are in {where} ({computed:,} of them new). Serve them: reranker serve --index NAME --vectors {where}")
    for one in problems:
        print(f"  left out: {one}")
