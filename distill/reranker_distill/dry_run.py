"""A dry run: checks a recipe and estimates what it takes, so that a large one fails in seconds on a laptop instead of in hours on a cluster."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from reranker.errors import RecipeError
from reranker_distill.augmentation.augment import MISSPELT_SHARE
from reranker_distill.checkpoints import HubError, check_checkpoint, resolve_checkpoint
from reranker_distill.inputs import Inputs, check_students, named_models, read_inputs
from reranker_distill.labelling import SHARD_SIZE
from reranker_distill.recipe import Recipe
from reranker_distill.recipe import Teacher as TeacherSettings
from reranker_distill.student.lists import PRODUCTS_PER_LIST
from reranker_distill.teacher.architecture import architecture


def dry_run(recipe: Recipe, recipe_path: Path, *, quiet: bool = False) -> dict[str, Any]:
    """Check the recipe's data and models, and return what a run would take.

    The teacher is built from its configuration on torch's meta device, LoRA included, without weights. Models that
    cannot be fetched from the hub are listed in ``not_checked``; the configurations of shipped recipes' teachers are known.

    Raises:
        RerankerError: as a run would raise at its beginning.
    """
    console = Console(stderr=True, quiet=quiet, highlight=False)
    inputs = read_inputs(recipe, recipe_path, console.print)
    estimate: dict[str, Any] = {
        "recipe": recipe.name,
        "products": len(inputs.products),
        "judgments": {"training": len(inputs.split.train), "held_out": len(inputs.split.held_out)},
        "teacher": _teacher(recipe, inputs),
        "pairs_at_most": _pairs(recipe, inputs),
    }
    if missing := _not_checked(recipe):
        estimate["not_checked"] = missing
    check_students(recipe)
    estimate["labelling_shards_at_most"] = math.ceil(estimate["pairs_at_most"] / SHARD_SIZE)
    estimate["student_steps_at_most"] = _student_steps(recipe, estimate["pairs_at_most"])
    _print(estimate, console)
    return estimate


def _teacher(recipe: Recipe, inputs: Inputs) -> dict[str, Any]:
    settings = recipe.teacher
    if recipe.embedder.alone:
        return {"kind": "none: the embedder labels alone", "model": recipe.embedder.model}
    if settings.kind == "zero_shot":
        from reranker_distill.teacher.zero_shot import chat_prompt

        product = next(iter(inputs.products.values()))
        prompt = chat_prompt(settings, str(product["title"]), recipe.template.render(product))
        return {"kind": "zero_shot", "model": settings.model, "endpoint": settings.endpoint, "prompt": prompt}
    pairs = min(len(inputs.split.train), settings.max_pairs or len(inputs.split.train))
    batch = settings.batch_size * settings.gradient_accumulation
    training = {"kind": "fine_tuned", "model": settings.model, "pairs": pairs, "pairs_a_step": batch, "steps": math.ceil(pairs * settings.epochs / batch)}
    with tempfile.TemporaryDirectory() as models:
        try:
            shape = architecture(settings, Path(models))
        except HubError:
            return training
        model = {
            "architecture": shape.name,
            "config_from": shape.config_from,
            "layers": shape.layers,
            "width": shape.width,
            "parameters": shape.parameters,
            "trained": shape.trained,
            "trained_share": round(shape.trained / shape.parameters, 5),
            "gigabytes": shape.gigabytes(settings),
        }
        return {**training, **model, **_prompt(settings, recipe, inputs, Path(models))}


def _not_checked(recipe: Recipe) -> dict[str, str]:
    """Return the models that cannot be fetched from the hub, by the recipe's key; other missing models are errors."""
    missing = {}
    for key, name in named_models(recipe).items():
        try:
            check_checkpoint(name, key, weights=False)
        except HubError as error:
            missing[key] = error.message
    return missing


def _prompt(settings: TeacherSettings, recipe: Recipe, inputs: Inputs, models: Path) -> dict[str, Any]:
    from transformers import AutoTokenizer

    from reranker_distill.teacher.prompts import fill_prompt, tokenise

    some = inputs.split.train[:200]
    checkpoint = resolve_checkpoint(settings.model, models)
    try:
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    except (OSError, ValueError, KeyError) as error:
        if Path(checkpoint).is_dir():
            raise RecipeError(f"The teacher {checkpoint} has no tokenizer that can be read: {error}", hint="Save model and tokenizer there.") from error
        text = recipe.template.render(inputs.products[some[0].product_id])
        return {
            "prompt": settings.prompt.format(product=text, query=some[0].query),
            "prompt_tokens": "not counted: no tokenizer from the hub",
        }
    prompts = [fill_prompt(settings.prompt, settings.max_length, tokenizer, j.query, recipe.template.render(inputs.products[j.product_id])) for j in some]
    lengths = sorted(len(ids) for ids in tokenise(settings, tokenizer, prompts))
    return {"prompt": prompts[0], "prompt_tokens": {"median": lengths[len(lengths) // 2], "most": lengths[-1], "allowed": settings.max_length}}


def _pairs(recipe: Recipe, inputs: Inputs) -> int:
    settings = recipe.augmentation
    judged = len({j.query for j in inputs.split.train})
    queries = (settings.log_queries if inputs.query_log else 0) + settings.catalogue_queries + judged
    products = sum(settings.mix[:5]) - (0 if recipe.uses_embedder else settings.mix.similar)
    return round(queries * (1 + MISSPELT_SHARE)) * products + len(inputs.split.train)


def _student_steps(recipe: Recipe, pairs: int) -> int:
    return math.ceil(pairs * recipe.student.epochs / (recipe.student.lists_per_batch * PRODUCTS_PER_LIST))


def _print(estimate: dict[str, Any], console: Console) -> None:
    for name, value in estimate.items():
        if isinstance(value, dict):
            console.print(f"[bold]{name}[/]")
            for key, entry in value.items():
                console.print(f"  {key.replace('_', ' ')}: {_format(entry)}", markup=False)
        else:
            console.print(f"[bold]{name.replace('_', ' ')}[/]: {_format(value)}")
    console.print("Nothing was trained, nothing was written.")


def _format(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
