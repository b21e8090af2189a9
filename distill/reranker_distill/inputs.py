"""The inputs of a run, checked before hours are spent on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from reranker.errors import JudgmentError, RecipeError
from reranker.evaluation.comparison import distinguishes_rankings
from reranker.judgments import Judgment, load_judgments
from reranker.products import CatalogProblem, Product, read_catalog
from reranker_distill.augmentation.query_log import read_query_log
from reranker_distill.checkpoints import HubError, check_checkpoint, is_packed, layer_count, read_config
from reranker_distill.disk_space import check_disk_space, estimate_run_bytes, folder_bytes
from reranker_distill.recipe import MAIN_STUDENT, Recipe, Teacher, data_file
from reranker_distill.splits import Split, split_by_intent


class Inputs(NamedTuple):
    """The recipe's files, the catalogue by id, and the judgments, split: ``train`` for the teacher, ``held_out`` for the gate."""

    catalog: Path
    judgments: Path | None
    query_log: Path | None
    products: dict[str, Product]
    split: Split


def read_inputs(recipe: Recipe, recipe_path: Path, say: Callable[[str], None]) -> Inputs:
    """Read and check everything that a recipe names.

    Raises:
        RecipeError: a file is missing, the key of an endpoint is not set, the judgments do not fit the recipe's classes, or there
            is nothing to label.
        CatalogError: the catalogue cannot be read.
        JudgmentError: the judgments cannot be read, are for another catalogue, or cannot be divided into folds.
    """
    if recipe.teacher.kind == "zero_shot" and not recipe.embedder.alone:
        from reranker_distill.teacher.zero_shot import endpoint

        endpoint(recipe.teacher).check()
    catalog = data_file(recipe.data.catalog, recipe_path, "products.jsonl.gz")
    log = data_file(recipe.data.query_log, recipe_path, "queries.tsv") if recipe.data.query_log else None
    file = data_file(recipe.data.judgments, recipe_path, "judgments.csv") if recipe.data.judgments else None
    products = read_products(recipe, catalog, say)
    if len(products) < 2:
        raise RecipeError(f"The catalogue {catalog} holds one product.", hint="A student learns from the margins between products.")
    judgments = _in_catalogue(load_judgments(file, locale=recipe.data.locale), products, say) if file else []
    split = split_judgments(recipe, judgments, say)
    _check_something_to_label(recipe, log, len({j.query for j in split.train}))
    return Inputs(catalog, file, log, products, split)


def read_products(recipe: Recipe, catalog: Path, say: Callable[[str], None] = lambda _: None) -> dict[str, Product]:
    """Return the catalogue by id. Unusable lines are an error; of a public table, unusable rows are left out, and ``say`` reports them.

    Raises:
        CatalogError: it cannot be read, is empty, or, JSON Lines, has unusable lines.
    """
    problems: list[CatalogProblem] = []
    table = catalog.suffix == ".parquet" and recipe.data.locale is not None  # without a locale, ids are repeated
    found = read_catalog(catalog, on_problem="skip" if table else "refuse", problems=problems, locale=recipe.data.locale)
    products: dict[str, Product] = {product["id"]: product for product in found}
    if problems:
        say(f"[yellow]{len(problems):,} unusable row(s) of the catalogue are left out: {'; '.join(map(str, problems[:5]))} …[/]")
    return products


def check_models_and_disk(recipe: Recipe, folder: Path, inputs: Inputs, *, resumes: bool = False) -> None:
    """Check that the recipe's models can be loaded, and that what the run writes fits on the disk of its ``folder``.

    Args:
        resumes: whether the folder holds outputs of this recipe and data; the disk is then not checked.

    Raises:
        RecipeError: a model is neither a folder, nor installed, nor on the hub; or as ``check_students``.
        RerankerError: the disk is too full.
    """
    for key, name in named_models(recipe).items():
        check_checkpoint(name, key)
    check_students(recipe)
    if resumes:
        return
    need = estimate_run_bytes(
        students=len(recipe.students()),
        products=len(inputs.products),
        catalog_bytes=inputs.catalog.stat().st_size,
        teacher_bytes=_checkpoint_bytes(recipe.teacher, folder / "pretrained") if recipe.learns_from_judgments else 0,
        lora=recipe.teacher.lora_rank > 0,
    )
    check_disk_space(folder, need)


def _checkpoint_bytes(teacher: Teacher, models: Path) -> int:
    """Return the size of a teacher's checkpoint: of its folder, or by its parameters. A packaged one is small."""
    if Path(teacher.model).is_dir() or is_packed(teacher.model):
        return folder_bytes(Path(teacher.model))
    from reranker_distill.teacher.architecture import BYTES, architecture

    return architecture(teacher, models).parameters * BYTES[teacher.load_dtype]


def check_students(recipe: Recipe) -> None:
    """Check, by the checkpoints' configurations, that students have enough layers, and that ``likelihood.model`` is a decoder.

    Models that cannot be fetched from the hub are skipped.

    Raises:
        RecipeError: a student has fewer layers, or the language model is no decoder.
    """
    students = recipe.students()
    encoder_of = {variant.name: variant.query_encoder_of for variant in recipe.variants if variant.query_encoder_of}
    for name, settings in students.items():
        section = "student" if name == MAIN_STUDENT else f"variant {name}"
        bi_encoder = encoder_of.get(name)
        present = (students[bi_encoder].layers if bi_encoder else None) or layer_count(_config(settings.model, "student.model"))
        if settings.layers and present and settings.layers > present:
            start = f"the student {bi_encoder}" if bi_encoder else settings.model
            raise RecipeError(f"The recipe's {section} has layers = {settings.layers}; {start} has {present}.", hint="Ask for fewer layers.")
    if not recipe.likelihood.labels:
        return
    architectures = _config(recipe.likelihood.model, "likelihood.model").get("architectures") or []
    if architectures and not any(kind in name for name in architectures for kind in ("CausalLM", "LMHead", "ConditionalGeneration")):
        raise RecipeError(
            f"The recipe's likelihood.model is {recipe.likelihood.model}, a {architectures[0]}, which is no language model.",
            hint="Name a decoder LLM, such as gemma-3-270m.",
        )


def _config(name: str, key: str) -> dict[str, Any]:
    try:
        return read_config(name, key)
    except HubError:
        return {}


def named_models(recipe: Recipe) -> dict[str, str]:
    """Return the checkpoints that a run loads, by the recipe's key."""
    named = {"student.model": recipe.student.model}
    if recipe.uses_embedder:
        named["embedder.model"] = recipe.embedder.model
    if recipe.likelihood.labels:
        named["likelihood.model"] = recipe.likelihood.model
    return named | ({"teacher.model": recipe.teacher.model} if recipe.learns_from_judgments else {})


def _check_something_to_label(recipe: Recipe, log: Path | None, judged_queries: int) -> None:
    settings = recipe.augmentation
    logged = len(read_query_log(log)) if log else 0
    if not judged_queries + min(settings.log_queries, logged) + settings.catalogue_queries:
        raise RecipeError(
            "There is no query to label products for.", hint="Give data.query_log, or raise augmentation.log_queries or augmentation.catalogue_queries."
        )


def _in_catalogue(judgments: list[Judgment], products: dict[str, Product], say: Callable[[str], None]) -> list[Judgment]:
    unknown = [j for j in judgments if j.product_id not in products]
    if unknown:
        named = ", ".join(f"{j.product_id} ({j.query})" for j in unknown[:5])
        if len(unknown) > len(judgments) / 2:
            raise JudgmentError(
                f"{len(unknown):,} of {len(judgments):,} judgments are for products the catalogue does not hold: {named} …",
                hint="Do the two files belong together?",
            )
        say(f"[yellow]{len(unknown):,} judgments are left out: the catalogue does not hold their products: {named} …[/]")
        empty = {j.query for j in unknown} - {j.query for j in judgments if j.product_id in products}
        if empty:
            say(f"[yellow]{len(empty):,} queries have no judged product left: {', '.join(sorted(empty)[:5])} …[/]")
    return [j for j in judgments if j.product_id in products]


def split_judgments(recipe: Recipe, judgments: list[Judgment], say: Callable[[str], None] = lambda _: None) -> Split:
    """Split the catalogue's judgments: by intent, or all for the gate where nothing is trained on them; ``say`` reports what looks wrong.

    Raises:
        JudgmentError, RecipeError: as ``read_inputs``.
    """
    if not judgments:
        return Split([], [])
    if not recipe.learns_from_judgments:
        split = Split([], judgments)
    else:
        split = split_by_intent(judgments, folds=recipe.data.folds, held_out_fold=recipe.data.held_out_fold, seed=recipe.seed)
        if not split.train or not split.held_out:
            raise JudgmentError(
                f"{len({j.intent for j in judgments})} intents cannot be divided into {recipe.data.folds} folds.",
                hint="Judge more queries or lower data.folds.",
            )
        _check_grades(recipe, split.train, say)
    ratings: dict[str, list[int]] = {}
    for judgment in split.held_out:
        ratings.setdefault(judgment.query, []).append(judgment.rating)
    if not any(distinguishes_rankings(of_query) for of_query in ratings.values()):
        raise JudgmentError(
            f"None of the {len(ratings):,} held-out queries can tell rankings apart, so the gate could not measure anything.",
            hint="A query needs a product rated 2 or 3 and one rated 0: judge more products, or hold out another fold (data.held_out_fold).",
        )
    return split


def _check_grades(recipe: Recipe, train: list[Judgment], say: Callable[[str], None]) -> None:
    ratings = Counter(j.rating for j in train)
    if len(ratings) < 2:
        raise RecipeError(
            f"All {len(train):,} judgments for training have grade {next(iter(ratings))}.",
            hint="A teacher needs relevant and irrelevant products to learn from.",
        )
    for judgment in train:
        for what, grade in (("rating", judgment.rating), *(("vote", vote) for vote in judgment.votes)):
            if grade >= recipe.teacher.grades:
                raise RecipeError(
                    f"A judgment has the {what} {grade} (product {judgment.product_id} for '{judgment.query}'), "
                    f"and teacher.classes names {recipe.teacher.grades}, for grades 0 to {recipe.teacher.grades - 1}.",
                    hint="Name a class for each grade, or correct the judgments.",
                )
    voted = [j for j in train if j.votes]
    odd = [j for j in voted if not min(j.votes) <= j.rating <= max(j.votes)]  # a final grade may overrule its votes, but seldom does
    if odd:
        first = odd[0]
        message = (
            f"{len(odd):,} of {len(voted):,} ratings lie outside their votes: product {first.product_id} for '{first.query}' is rated {first.rating}, "
            f"its votes are {' '.join(map(str, first.votes))}."
        )
        if len(odd) > len(voted) / 2:
            raise JudgmentError(message, hint="Are the votes on the ratings' scale, and on their lines? Leave the column out if not.")
        say(f"[yellow]{message}[/]")
