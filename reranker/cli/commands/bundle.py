"""``reranker bundle``: shows and verifies bundles, and changes those of a running service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from reranker.bundle import load_bundle
from reranker.cli.commands import bundle_service
from reranker.cli.options import AsJson

app = typer.Typer(help="Show or verify a bundle (a student ready to serve), or change the bundles of a running service.", no_args_is_help=True)
for command in (bundle_service.status, bundle_service.rollout, bundle_service.rollback, bundle_service.shadow, bundle_service.promote):
    app.command(rich_help_panel="Bundles of a running service")(command)
Folder = Annotated[Path | None, typer.Argument(metavar="[DIR|NAME]", help="The bundle's folder, or the name of a shipped one. Default: `default`.")]

# --json and the model card show the rest
_SHOWN_METRICS = ("queries", "ndcg@10", "not_measured", "cross_validated", "precision", "teacher_agreement", "latency_ms")


@app.command()
def show(bundle: Folder = None, as_json: AsJson = False) -> None:
    """Show a bundle's student, teacher, measured quality and licences."""
    from rich.console import Console
    from rich.table import Table

    loaded = load_bundle(bundle)
    manifest = loaded.manifest
    if as_json:
        print(manifest.model_dump_json(indent=2))
        return
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("bundle", f"{manifest.name}, version {loaded.version}, made {manifest.created}")
    table.add_row("folder", str(loaded.path))
    table.add_row("size", f"{sum(f.bytes for f in manifest.files.values()) / 1e6:.1f} MB")
    table.add_row("reads", f"{', '.join(manifest.template.fields)}; at most {manifest.max_length} tokens")
    for name in ("student", "teacher", "training"):
        table.add_row(name, json.dumps(getattr(manifest, name), ensure_ascii=False))
    table.add_row("metrics", json.dumps({k: v for k, v in manifest.metrics.items() if k in _SHOWN_METRICS}, ensure_ascii=False))
    if "MODEL_CARD.md" in manifest.files:
        table.add_row("card", str(loaded.path / "MODEL_CARD.md"))
    table.add_row("licences", "; ".join(" ".join(entry.values()) for entry in manifest.licences))
    table.add_row("trained on", f"{len(manifest.seen.intents)} judged intents, {len(manifest.seen.queries)} judged queries")
    Console(soft_wrap=True).print(table)


@app.command()
def verify(bundle: Folder = None, as_json: AsJson = False) -> None:
    """Check every file against the manifest, load the student and score one pair."""
    from reranker.reranker import Reranker

    reranker = Reranker.load(bundle)
    score = float(reranker.score("laptop", ["a laptop computer"])[0])
    result = {"bundle": str(reranker.bundle.path), "version": reranker.bundle.version, "ok": True, "score_of_a_laptop": round(score, 4)}
    print(json.dumps(result) if as_json else f"{reranker.bundle.path} is valid. Relevance of 'a laptop computer' for 'laptop': {score:.4f}")
