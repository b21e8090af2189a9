"""A dry run: everything of a recipe but the work, so that a large one fails on a laptop in seconds rather than on a cluster in hours."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from distill.checkpoints import resolve_checkpoint
from distill.inputs import Inputs, read_inputs
from distill.recipe import Recipe
from distill.recipe import Teacher as TeacherSettings
from reranker.errors import RecipeError

_BYTES = {"float32": 4, "bfloat16": 2}
_ADAM_BYTES = 4 + 4 + 4  # gradient and two moments of each trained weight


def rehearse(recipe: Recipe, recipe_path: Path, *, quiet: bool = False) -> dict[str, Any]:
    """Check the recipe's data and models, and return what a run would take.

    The teacher is built from its configuration on torch's meta device, LoRA included: its shape, no weights. Where the
    configuration can be had from neither folder nor hub, ``teacher`` says why, and the rest is checked all the same.

    Raises:
        RerankerError: what a run would refuse at its beginning.
    """
    console = Console(stderr=True, quiet=quiet, highlight=False)
    inputs = read_inputs(recipe, recipe_path, console.print)
    found: dict[str, Any] = {
        "recipe": recipe.name,
        "products": len(inputs.products),
        "judgments": {"training": len(inputs.split.train), "held_out": len(inputs.split.held_out)},
        "teacher": _teacher(recipe, inputs),
        "pairs_at_most": _pairs(recipe, inputs),
    }
    found["labelling_shards_at_most"] = math.ceil(found["pairs_at_most"] / recipe.labelling.shard_size)
    found["student_steps_at_most"] = _student_steps(recipe, found["pairs_at_most"])
    _print(found, console)
    return found


def _teacher(recipe: Recipe, inputs: Inputs) -> dict[str, Any]:
    settings = recipe.teacher
    if recipe.embedder.alone:
        return {"kind": "none: the embedder judges alone", "model": recipe.embedder.model}
    if settings.kind == "zero_shot":
        return {"kind": "zero_shot", "model": settings.model, "endpoint": settings.endpoint}
    pairs = min(len(inputs.split.train), settings.max_pairs or len(inputs.split.train))
    batch = settings.batch_size * settings.gradient_accumulation
    training = {"kind": "fine_tuned", "model": settings.model, "pairs": pairs, "pairs_a_step": batch, "steps": math.ceil(pairs * settings.epochs / batch)}
    with tempfile.TemporaryDirectory() as models:
        try:
            checkpoint = resolve_checkpoint(settings.model, Path(models))
            return {**training, **_network(checkpoint, settings), **_prompt(checkpoint, settings, recipe, inputs)}
        except _Unreachable as error:
            return {**training, "not_checked": str(error)}


class _Unreachable(Exception):
    """A checkpoint is neither a folder nor on a hub that answers."""


def _network(checkpoint: str, settings: TeacherSettings) -> dict[str, Any]:
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    try:
        config = AutoConfig.from_pretrained(checkpoint, num_labels=settings.grades)
    except (OSError, ValueError, KeyError) as error:
        if Path(checkpoint).is_dir():
            raise RecipeError(f"The teacher {checkpoint} cannot be built: {error}", hint="Is its config.json that of a transformers model?") from error
        raise _Unreachable(f"{checkpoint}: its configuration cannot be had from the hub here; give a folder, or run this where the hub answers") from error
    with torch.device("meta"):
        try:
            model: Any = AutoModelForSequenceClassification.from_config(config)
        except ValueError as error:
            raise RecipeError(f"{checkpoint} cannot classify: {error}", hint="Take a decoder LLM or an encoder.") from error
        total = sum(p.numel() for p in model.parameters())
        if settings.lora_rank:
            from peft import LoraConfig, get_peft_model

            lora = LoraConfig(task_type="SEQ_CLS", r=settings.lora_rank, lora_alpha=2 * settings.lora_rank, target_modules="all-linear")
            model = get_peft_model(model, lora)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    gigabytes = (total * _BYTES[settings.load_dtype] + trained * _ADAM_BYTES) / 1e9
    return {
        "architecture": config.architectures[0] if config.architectures else config.model_type,
        "parameters": total,
        "trained": trained,
        "gigabytes_without_activations": round(gigabytes, 1),
    }


def _prompt(checkpoint: str, settings: TeacherSettings, recipe: Recipe, inputs: Inputs) -> dict[str, Any]:
    from transformers import AutoTokenizer

    from distill.teacher.prompts import render_prompt, tokenised

    try:
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    except (OSError, ValueError, KeyError) as error:
        raise RecipeError(f"The teacher {checkpoint} has no tokenizer that can be read: {error}", hint="Save model and tokenizer there.") from error
    some = inputs.split.train[:200]
    prompts = [render_prompt(settings, tokenizer, j.query, recipe.template.render(inputs.products[j.product_id])) for j in some]
    lengths = sorted(len(ids) for ids in tokenised(settings, tokenizer, prompts))
    return {"prompt": prompts[0], "prompt_tokens": {"median": lengths[len(lengths) // 2], "most": lengths[-1], "allowed": settings.max_length}}


def _pairs(recipe: Recipe, inputs: Inputs) -> int:
    made = recipe.augmentation
    judged = len({j.query for j in inputs.split.train})
    queries = (made.log_queries if inputs.query_log else 0) + made.catalogue_queries + made.llm_queries + judged
    products = made.top_products + made.deeper_products + made.hard_products + made.similar_products + made.random_products
    return round(queries * (1 + made.misspelt_share)) * products + len(inputs.split.train)


def _student_steps(recipe: Recipe, pairs: int) -> int:
    return math.ceil(pairs * recipe.student.epochs / (recipe.student.lists_per_batch * recipe.student.products_per_list))


def _print(found: dict[str, Any], console: Console) -> None:
    for name, value in found.items():
        if isinstance(value, dict):
            console.print(f"[bold]{name}[/]")
            for inner, told in value.items():
                console.print(f"  {inner.replace('_', ' ')}: {_told(told)}", markup=False)
        else:
            console.print(f"[bold]{name.replace('_', ' ')}[/]: {_told(value)}")
    console.print("Nothing was trained, nothing was written.")


def _told(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
