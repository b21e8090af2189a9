"""A fine-tuned teacher: a large model learns to classify (query, product) pairs into grades, with soft targets.

Source: arXiv 2505.07105, section on teacher training: the raters' disagreement is kept as a probability per grade.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

from reranker.errors import RecipeError
from reranker.judgments import Judgment
from reranker.products import Product
from reranker.text import ProductTemplate
from reranker_distill.checkpoints import CHECKPOINTS
from reranker_distill.precision import dtype_of, has_bfloat16, to_bfloat16
from reranker_distill.recipe import Teacher as TeacherSettings
from reranker_distill.teacher.prompts import fill_prompt, tokenise
from reranker_distill.teacher.shared_prefixes import group_by_prefix, is_decoder, make_batches, pad, run_decoder
from reranker_distill.teacher.soft_targets import expected_relevance, soft_target
from reranker_distill.trainer import train

_SETTINGS = "teacher.json"


class SoftTargetTrainer(Trainer):
    """transformers' Trainer with cross-entropy against a distribution."""

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        targets = inputs.pop("targets")
        outputs = model(**inputs)
        loss = nn.functional.cross_entropy(outputs.logits.float(), targets)
        return (loss, outputs) if return_outputs else loss


class PromptCollator:
    """Pads tokenised prompts to the longest of their batch, and stacks their targets."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        batch = dict(self.tokenizer.pad({"input_ids": [row["input_ids"] for row in rows]}, return_tensors="pt"))
        batch["targets"] = torch.tensor(np.stack([row["targets"] for row in rows]))
        return batch


def _load(checkpoint: str, settings: TeacherSettings) -> tuple[Any, Any]:
    try:
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        model = AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=settings.grades, dtype=dtype_of(settings.load_dtype))
        model.config.id2label = dict(enumerate(settings.classes))
        model.config.label2id = {name: grade for grade, name in enumerate(settings.classes)}
    except (OSError, ValueError, KeyError) as error:
        raise RecipeError(f"The teacher {checkpoint} cannot be loaded: {error}", hint="Give a hub name or a folder with model and tokenizer.") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


def with_lora(model: Any, settings: TeacherSettings) -> Any:
    """Return the model with LoRA adapters (arXiv 2106.09685) on all its linear layers, or unchanged where ``lora_rank`` is 0."""
    if not settings.lora_rank:
        return model
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(task_type="SEQ_CLS", r=settings.lora_rank, lora_alpha=2 * settings.lora_rank, lora_dropout=0.05, target_modules="all-linear")
    return get_peft_model(model, lora)


def fine_tune(
    judgments: Sequence[Judgment],
    products: Mapping[str, Product],
    *,
    checkpoint: str,
    settings: TeacherSettings,
    template: ProductTemplate,
    seed: int,
    folder: Path,
) -> dict[str, Any]:
    """Fine-tune the teacher and save it, LoRA merged, into ``folder``; resumes from a checkpoint left there.

    Started several times by ``accelerate launch`` or ``torchrun``, the processes share each step, and the first saves.
    Returns the stage's report; nothing in the others.

    Raises:
        RecipeError: the checkpoint cannot be loaded.
        DivergedError: loss or weights are no longer finite.
    """
    judgments = list(judgments)
    if settings.max_pairs is not None and len(judgments) > settings.max_pairs:
        judgments = random.Random(seed).sample(judgments, settings.max_pairs)
    torch.manual_seed(seed)
    model, tokenizer = _load(checkpoint, settings)
    model = with_lora(model, settings)
    prompts = [fill_prompt(settings.prompt, settings.max_length, tokenizer, j.query, template.render(products[j.product_id])) for j in judgments]
    targets = [soft_target(j, settings) for j in judgments]
    rows = [{"input_ids": ids, "targets": t} for ids, t in zip(tokenise(settings, tokenizer, prompts), targets, strict=True)]
    arguments = TrainingArguments(
        output_dir=str(folder / CHECKPOINTS),
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        gradient_checkpointing=settings.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},  # the reentrant kind gives LoRA no gradient: its inputs need none
        lr_scheduler_type="linear",
        warmup_ratio=0.06,
        bf16=settings.bf16 and has_bfloat16(),
        group_by_length=True,
        use_cpu=not torch.accelerator.is_available(),
        seed=seed,
        save_steps=50,
        save_total_limit=1,
        logging_steps=10,
        report_to="none",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        label_names=["targets"],
    )
    trainer = SoftTargetTrainer(
        model=model,
        args=arguments,
        train_dataset=rows,  # type: ignore[arg-type]
        data_collator=PromptCollator(tokenizer),
    )
    result = train(trainer, "teacher", "training the teacher", folder)
    if not trainer.is_world_process_zero():
        return {}
    merged = model.merge_and_unload() if settings.lora_rank else model
    merged.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / _SETTINGS).write_text(json.dumps({"settings": settings.model_dump(), "template": template.model_dump()}))
    return {
        "pairs": len(rows),
        "epochs": settings.epochs,
        "steps": result.global_step,
        "loss": round(result.training_loss, 4),
        "parameters": sum(p.numel() for p in merged.parameters()),
        "arithmetic": "bfloat16" if arguments.bf16 else "float32",
    }


class FineTunedTeacher:
    """A fine-tuned teacher, ready to label."""

    def __init__(self, folder: Path, precision: str | None = None) -> None:
        saved = json.loads((folder / _SETTINGS).read_text())
        self.settings = TeacherSettings.model_validate(saved["settings"])
        self.template = ProductTemplate.model_validate(saved["template"])
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model, self.tokenizer = _load(str(folder), self.settings)
        self.model.eval().to(self.device)
        if precision == "bfloat16" or (precision is None and self.settings.bf16):
            to_bfloat16(self.model, self.settings.grades)
        elif precision == "float32":
            self.model.float()
        self._is_decoder = is_decoder(self.model)

    def distributions(
        self, pairs: Sequence[tuple[str, Product]], *, on_pairs: Callable[[int], None] | None = None, tokens_per_batch: int | None = None
    ) -> np.ndarray:
        """Return the grade distributions of (query, product) pairs: float32 (n, grades).

        Pairs are sorted by length and batched by tokens; a decoder computes the prefix that prompts of one product share once.
        ``on_pairs`` is called with the number done.
        """
        texts = [self.template.render(product) for _, product in pairs]
        settings, tokenizer = self.settings, self.tokenizer
        prompts = [fill_prompt(settings.prompt, settings.max_length, tokenizer, query, text) for (query, _), text in zip(pairs, texts, strict=True)]
        ids = tokenise(self.settings, self.tokenizer, prompts) if prompts else []
        out = np.zeros((len(ids), self.settings.grades), dtype=np.float32)
        groups = group_by_prefix(ids, texts if self._is_decoder else range(len(ids)))
        for batch in make_batches(groups, ids, tokens_per_batch):
            members = [i for group in batch for i in group.members]
            with torch.inference_mode():
                if self._is_decoder:
                    logits = run_decoder(self.model, ids, batch, self.tokenizer.pad_token_id).logits
                else:
                    tokens, mask = pad([ids[i] for i in members], self.tokenizer.pad_token_id, left=False)
                    logits = self.model(input_ids=tokens.to(self.device), attention_mask=mask.to(self.device)).logits
            out[members] = torch.softmax(logits.float(), dim=-1).cpu().numpy()
            if on_pairs:
                on_pairs(len(members))
        return out

    def relevance(self, query: str, products: Sequence[Product]) -> np.ndarray:
        """Return the expected grade of each product, scaled to 0–1: float32 (n,)."""
        return expected_relevance(self.distributions([(query, product) for product in products]))
