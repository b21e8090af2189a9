"""A distillation run: the stages of a recipe, one after the other, and the report they leave."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from reranker import __version__
from reranker.bundle import sha256
from reranker.embedded import EmbeddedFirstStage, build_index
from reranker.errors import RecipeError, RerankerError
from reranker.folders import copy_files, whole_file, whole_folder
from reranker.machine import describe
from reranker.onnx_model import cores
from reranker.products import Product
from reranker.progress import progress
from reranker_distill.augmentation import augment, read_query_log, wordings
from reranker_distill.checkpoints import files_of, resolve_checkpoint
from reranker_distill.distributed import DistributedContext
from reranker_distill.finished_run import FILES, LABELS, LIKELIHOOD, PAIRS, TEACHER, TOGETHER, VECTORS
from reranker_distill.gate import PER_QUERY
from reranker_distill.gate.evidence import Evidence
from reranker_distill.gate.neighbours import CATALOGUE_VECTORS
from reranker_distill.inputs import check_means, read_inputs
from reranker_distill.labelling import Known, Labeller, label_pairs
from reranker_distill.pairs import LabelledPair, labelled_in, read_labelled, read_pairs, write_rows
from reranker_distill.product_vectors import ProductVectors, embed_products
from reranker_distill.recipe import Recipe
from reranker_distill.reuse import check_reusable, known_labels, label_reads, likelihood_reads, take_checkpoints
from reranker_distill.splits import HeldOutGuard, Split
from reranker_distill.stages import EARLIER, Stage, Stages, fingerprint_of, full_disk_told, read_object, stage_in
from reranker_distill.student_variants import TrainedVariant, stages_of, train_variants

PICTURE = "evaluation.png"
VARIANTS_PICTURE = "variants.png"


class GateRefusal(RerankerError):
    """The gate found the student not worth serving."""

    exit_code = 5


def distil(
    recipe: Recipe,
    recipe_path: Path,
    folder: Path,
    *,
    quiet: bool = False,
    ray: str | None = None,
    reuse: Sequence[Path] = (),
    evidence: Evidence | None = None,
) -> dict[str, Any]:
    """Run a recipe in ``folder``, going on from whatever is there, and return the report; the bundle is ``folder/bundle``.

    With ``ray``, the address of a Ray cluster or "local", the teacher labels there. Started several times by ``accelerate launch``
    or ``torchrun``, all processes train the teacher together and the first goes on alone; the others end. ``reuse`` names runs
    that spare this one what would be the same (``reuse``): the catalogue's vectors, likelihoods of queries, a teacher that learnt
    from the same judgments, and its labels. ``evidence`` is what earlier runs measured, for a recipe that holds nothing out
    (``refit``).

    Raises:
        RecipeError, CatalogError, JudgmentError: what the recipe names cannot be used.
        GateRefusal: the student is not good enough; the report says why.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    console = Console(stderr=True, quiet=quiet, highlight=False)
    stages = Stages(folder, lambda text: console.print(f"[bold]·[/] {text}"), reuse)
    if ray is not None:
        if recipe.teacher.kind == "zero_shot":
            raise RecipeError("A zero-shot teacher is asked through its endpoint, not on a Ray cluster.", hint="Leave --ray out.")
        from reranker_distill.labelling.on_ray import check_address

        check_address(ray)  # before the hours that the teacher takes
    check_reusable(reuse)
    ranks = DistributedContext()
    if not ranks.first:
        _help(recipe, recipe_path, folder, ranks)
    inputs = read_inputs(recipe, recipe_path, console.print)
    catalog, judgment_file, log_file, products, split = inputs
    data = {
        "release": __version__,
        "catalog": sha256(catalog),
        "judgments": sha256(judgment_file) if judgment_file else None,
        "data": recipe.data.model_dump(),
        "seed": recipe.seed,
        "template": recipe.template.model_dump(),
    }
    catalogue = {name: data[name] for name in ("release", "catalog", "template")} | ({"locale": recipe.data.locale} if recipe.data.locale else {})
    files = {"catalog": str(catalog), "judgments": str(judgment_file or ""), "sha256": {name: data[name] for name in ("catalog", "judgments") if data[name]}}
    files |= {"recipe": fingerprint_of(recipe.model_dump(mode="json"))}
    goes_on = read_object(folder / FILES) == files
    check_means(recipe, folder, inputs, goes_on=goes_on, made_teacher=folder / TEACHER if goes_on and stage_in(folder / TEACHER) else None)
    models = folder / "pretrained"
    earlier = [*reuse, folder / EARLIER]
    with full_disk_told("the run", folder), stages.locked():
        take_checkpoints(reuse, folder)
        if recipe_path.resolve() != (folder / "recipe.toml").resolve():
            with whole_file(folder / "recipe.toml") as copy:
                shutil.copyfile(recipe_path, copy)
        with whole_file(folder / FILES) as written:
            written.write_text(json.dumps(files, indent=1), encoding="utf-8")
        models.mkdir(exist_ok=True)
        made: dict[str, Stage] = {}
        if not recipe.embedder.alone:
            judged = {**data, "data": recipe.data.model_dump(exclude={"query_log"})} if recipe.learns_from_judgments else catalogue
            reads = {**judged, "teacher": recipe.teacher.model_dump(exclude={"licence", "notice"}), **files_of(recipe.teacher.model)}
            made["teacher"] = stages.run(TEACHER, reads, lambda at: _teach(recipe, split, products, models, at, ranks), may_be_taken=True)
            if made["teacher"].reused and recipe.learns_from_judgments:
                ranks.told(False)
        ranks.disband()
        vectors: Stage | None = None
        if recipe.embedder.model and (recipe.embedder.judges or recipe.augmentation.similar_products):
            reads = {**catalogue, "model": recipe.embedder.model, **files_of(recipe.embedder.model)}
            vectors = stages.run(VECTORS, reads, lambda at: _embed(recipe, products, models, at, console), may_be_taken=True)
        pairs = stages.run(
            PAIRS,
            {
                **data,
                "learns_from_judgments": recipe.learns_from_judgments,  # else all of them are held out
                "augmentation": recipe.augmentation.model_dump(),
                "log": sha256(log_file) if log_file else None,
                "vectors": vectors.fingerprint if vectors and recipe.augmentation.similar_products else None,
            },
            lambda at: _pair(recipe, split, products, log_file, vectors, models, at, console),
        )
        told = {**made, "pairs": pairs}
        if not recipe.embedder.alone:
            labelling = label_reads(recipe, made["teacher"], pairs)
            told["labels"] = stages.run(
                LABELS, labelling, lambda at: _label(recipe, made["teacher"], pairs, products, at, console, ray, known_labels(earlier, LABELS, labelling))
            )
        if vectors:
            told["vectors"] = vectors
        if recipe.likelihood.judges:
            asked = likelihood_reads(recipe, catalogue, pairs)
            told["likelihood"] = stages.run(
                LIKELIHOOD, asked, lambda at: _find_likely(recipe, pairs, products, models, at, console, ray, known_labels(earlier, LIKELIHOOD, asked))
            )
        if vectors and recipe.embedder.judges:
            reads = {"pairs": pairs.fingerprint, "vectors": vectors.fingerprint, "embedder": recipe.embedder.model_dump(exclude={"licence"})}
            reads |= {name: told[name].fingerprint for name in ("labels", "likelihood") if name in told}
            reads |= {"weight": str(recipe.likelihood.weight)} if recipe.likelihood.judges else {}
            told["together"] = stages.run(TOGETHER, reads, lambda at: _judge_together(recipe, told, products, models, at, console))
        taught = told.get("together") or told["labels"]
        variants = train_variants(
            recipe,
            stages,
            taught,
            products,
            models,
            lambda what, total: progress(what, total, console),
            lambda: wordings(products.values(), read_query_log(log_file) if log_file else [], HeldOutGuard.of(split.held_out), seed=recipe.seed),
        )
        made |= {"pairs": pairs, "labels": taught} | ({"vectors": vectors} if vectors else {})
        gate = stages.run(
            "6-gate",
            {
                "exports": {variant.name: [export.fingerprint for export in variant.exports] for variant in variants},
                "labels": taught.fingerprint,
                "gate": recipe.gate.model_dump(),
                "vectors": recipe.vectors.model_dump(),
                "name": recipe.name,
                "licences": recipe.licences,
                **({"evidence": evidence.as_dict()} if evidence else {}),
            },
            lambda at: _gate(recipe, split, products, made, variants, at, console, evidence),
        )
        report = _report(recipe, folder, {**told, **stages_of(variants), "gate": gate})
        if gate.report["refused"]:
            raise GateRefusal(f"The gate refuses the bundle: {'; '.join(gate.report['refused'])}.", hint=f"The whole report: {folder / 'report.json'}")
        hand_out(gate.folder, gate.report["chosen"], folder)
    console.print(f"The bundle is ready: [bold]{folder / 'bundle'}[/] — try it: reranker search --bundle {folder / 'bundle'} laptop")
    if (gate.folder / CATALOGUE_VECTORS).is_dir():
        console.print(f"Serve it with the catalogue's vectors: reranker serve --bundle {folder / 'bundle'} --vectors {folder / CATALOGUE_VECTORS}")
    return report


def hand_out(passed: Path, chosen: str, folder: Path) -> None:
    """Copy what passed the gate to where users look: the chosen variant's bundle to ``bundle``, the others' to ``bundles``, its vectors to ``vectors``.

    What an earlier run left there, and this one has none of, is removed.

    Raises:
        RerankerError: the disk is full; what an earlier run left stays as it was.
    """
    bundles = passed / "bundles"
    others = sorted(variant for variant in bundles.iterdir() if variant.is_dir() and variant.name != chosen)
    vectors = passed / CATALOGUE_VECTORS
    with full_disk_told("copying the bundles", folder):
        with ExitStack() as whole:  # all are copied before any takes its place
            copy_files(bundles / chosen, whole.enter_context(whole_folder(folder / "bundle")))
            if others:
                beside = whole.enter_context(whole_folder(folder / "bundles"))
                for variant in others:
                    copy_files(variant, beside / variant.name)
            if vectors.is_dir():
                copy_files(vectors, whole.enter_context(whole_folder(folder / CATALOGUE_VECTORS)))
        for name, has in (("bundles", others), (CATALOGUE_VECTORS, vectors.is_dir())):
            if not has:
                shutil.rmtree(folder / name, ignore_errors=True)


def _teach(recipe: Recipe, split: Split, products: dict[str, Product], models: Path, at: Path, ranks: DistributedContext) -> dict[str, Any]:
    from reranker_distill.teacher import train_teacher

    checkpoint = recipe.teacher.model
    if recipe.learns_from_judgments:
        checkpoint = resolve_checkpoint(recipe.teacher.model, models)
        if ranks.first:
            ranks.told(True)  # the others may begin: folder and checkpoint are there
    return train_teacher(split.train, products, checkpoint=checkpoint, settings=recipe.teacher, template=recipe.template, seed=recipe.seed, folder=at)


def _help(recipe: Recipe, recipe_path: Path, folder: Path, ranks: DistributedContext) -> None:
    """Train the teacher with the first process, where it trains one, and end."""
    inputs = read_inputs(recipe, recipe_path, lambda _: None)
    if recipe.learns_from_judgments and ranks.told(None):
        _teach(recipe, inputs.split, inputs.products, folder / "pretrained", folder / TEACHER, ranks)
    ranks.leave()


def _embed(recipe: Recipe, products: dict[str, Product], models: Path, at: Path, console: Console) -> dict[str, Any]:
    with progress("encoding products", len(products), console) as advance:
        vectors = embed_products(products, embedder=recipe.embedder.model, template=recipe.template, folder=at, models=models, on_products=advance)
    return {"products": len(vectors.ids), "width": vectors.vectors.shape[1]}


def _vectors(recipe: Recipe, stage: Stage, products: dict[str, Product], models: Path) -> ProductVectors:
    """Return what the vectors' stage left."""
    return embed_products(products, embedder=recipe.embedder.model, template=recipe.template, folder=stage.folder, models=models)


def _pair(
    recipe: Recipe, split: Split, products: dict[str, Product], log_file: Path | None, vectors: Stage | None, models: Path, at: Path, console: Console
) -> dict[str, Any]:
    settings = recipe.augmentation
    build_index(at / "index", products.values())
    log = read_query_log(log_file) if log_file else []
    similar = _vectors(recipe, vectors, products, models) if vectors and settings.similar_products else None
    wanted = settings.catalogue_queries + settings.llm_queries + (settings.log_queries if log else 0)
    notes: dict[str, Any] = {}
    with progress("choosing queries", wanted + round(settings.misspelt_share * (wanted + len({j.query for j in split.train}))), console) as advance:
        pairs = augment(
            judged=split.train,
            held_out=split.held_out,
            query_log=log,
            products=products,
            first_stage=EmbeddedFirstStage(at / "index"),
            settings=settings,
            seed=recipe.seed,
            similar=similar,
            template=recipe.template,
            folder=at.parent,
            on_query=lambda: advance(1),
            report=notes,
        )
    if not any(n > 1 for n in Counter(pair.query for pair in pairs).values()):
        raise RecipeError(
            f"None of the {wanted:,} queries asked for finds two products of the catalogue: there are no margins to learn.",
            hint="Does the query log belong to the catalogue? Give judgments, or raise augmentation.catalogue_queries.",
        )
    write_rows(at / "pairs.parquet", pairs)
    without = notes["queries_without_hits"]
    if without["number"]:
        console.print(f"[yellow]{without['number']:,} queries find nothing in the first stage: {', '.join(without['first'][:5])} …[/]")
    by_source = Counter(pair.source.split("/")[0] for pair in pairs)
    by_product_source = Counter(pair.source.split("/")[1].rstrip("0123456789 ") for pair in pairs)
    queries = Counter(source for _, source in {(pair.query, pair.source.split("/")[0]) for pair in pairs})
    return {
        "pairs": len(pairs),
        "pairs_by_source": dict(by_source),
        "pairs_by_product_source": dict(by_product_source),
        "queries_by_source": dict(queries),
        **notes,
    }


def _label(
    recipe: Recipe, teacher: Stage, pairs: Stage, products: dict[str, Product], at: Path, console: Console, ray: str | None, known: Known
) -> dict[str, Any]:
    labelled = read_labelled(_label_all(pairs, products, teacher.folder, at, recipe, "labelling pairs", console, ray, known))
    return {"pairs": len(labelled), "mean_relevance": round(sum(p.relevance for p in labelled) / len(labelled), 4), **_reused(labelled, known)}


def _reused(labelled: Sequence[LabelledPair], known: Known) -> dict[str, int]:
    reused = sum((pair.query, pair.product_id) in known for pair in labelled)
    return {"pairs_of_other_runs": reused} if reused else {}


def _label_all(
    pairs: Stage,
    products: dict[str, Product],
    teacher: Labeller | Path,
    at: Path,
    recipe: Recipe,
    what: str,
    console: Console,
    ray: str | None,
    known: Known,
) -> list[Path]:
    todo = sorted(read_pairs(pairs.folder / "pairs.parquet"), key=lambda pair: pair.product_id)  # a decoder reads a product of a shard once
    with progress(what, len(todo), console) as advance:
        return label_pairs(todo, products, teacher, folder=at, settings=recipe.labelling, on_pairs=advance, ray=ray, known=known)


def _find_likely(
    recipe: Recipe,
    pairs: Stage,
    products: dict[str, Product],
    models: Path,
    at: Path,
    console: Console,
    ray: str | None,
    known: Known,
) -> dict[str, Any]:
    from reranker_distill.teacher.query_likelihood import QueryLikelihood

    model = QueryLikelihood(recipe.likelihood, recipe.template, models)
    labelled = read_labelled(_label_all(pairs, products, model, at, recipe, "asking how likely queries are", console, ray, known))
    return {"pairs": len(labelled), "model": recipe.likelihood.model, **_reused(labelled, known)}


def _judge_together(recipe: Recipe, told: dict[str, Stage], products: dict[str, Product], models: Path, at: Path, console: Console) -> dict[str, Any]:
    from reranker_distill.label_fusion import judge_of, judge_together, stored_likelihood

    if "labels" in told:
        labelled = labelled_in(told["labels"].folder)
    else:
        labelled = [LabelledPair(*pair, distribution=()) for pair in read_pairs(told["pairs"].folder / "pairs.parquet")]
    likelihood = stored_likelihood(told["likelihood"].folder) if "likelihood" in told else None
    judge = judge_of(recipe, _vectors(recipe, told["vectors"], products, models), products, likelihood)
    with progress("judging together", len(labelled), console) as advance:
        judged = judge_together(labelled, judge, teacher_share=1 - recipe.embedder.share, by_agreement=recipe.embedder.teacher_by_agreement, on_pairs=advance)
    write_rows(at / "labels-00000.parquet", judged.labelled)
    return {
        "pairs": len(judged.labelled),
        "embedder_share": recipe.embedder.share,
        "agreement_of_teacher_and_embedder": judged.agreement,
        "range": judged.range,
    }


def _gate(
    recipe: Recipe,
    split: Split,
    products: dict[str, Product],
    made: dict[str, Stage],
    variants: list[TrainedVariant],
    at: Path,
    console: Console,
    evidence: Evidence | None,
) -> dict[str, Any]:
    from reranker_distill.gate import pass_gate

    first_stage = EmbeddedFirstStage(made["pairs"].folder / "index")
    return pass_gate(
        recipe,
        split,
        products,
        made,
        variants,
        first_stage=first_stage,
        folder=at,
        picture=at / PICTURE,
        variants_picture=at / VARIANTS_PICTURE,
        say=console.print,
        progress=lambda what, total: progress(what, total, console),
        evidence=evidence,
    )


def _machine() -> dict[str, Any]:
    """Return what the run ended on: seconds of stages mean something only beside it. Stages taken from elsewhere say so themselves."""
    import torch

    return {**describe(cores()), **({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {})}


def _report(recipe: Recipe, folder: Path, made: dict[str, Stage]) -> dict[str, Any]:
    report = {
        "recipe": recipe.model_dump(mode="json"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        "stages": {name: {"seconds": stage.seconds, **stage.report} for name, stage in made.items()},
    }
    per_query = made["gate"].folder / PER_QUERY
    if per_query.is_file():
        report["held_out_queries"] = json.loads(per_query.read_text(encoding="utf-8"))
    with whole_file(folder / "report.json") as written:
        written.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for picture in (PICTURE, VARIANTS_PICTURE):
        if (made["gate"].folder / picture).is_file():
            shutil.copyfile(made["gate"].folder / picture, folder / picture)
    return report
