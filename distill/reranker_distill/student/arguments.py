"""The arguments of transformers' trainers that all students share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from reranker_distill.checkpoints import CHECKPOINTS
from reranker_distill.precision import has_bfloat16
from reranker_distill.recipe import Student as StudentSettings


def training_arguments(settings: StudentSettings, *, seed: int, folder: Path, batch: int) -> dict[str, Any]:
    """Return arguments of ``TrainingArguments``; checkpoints go into ``folder``, ``batch`` is the size of a step."""
    return {
        "output_dir": str(folder / CHECKPOINTS),
        "num_train_epochs": settings.epochs,
        "learning_rate": settings.learning_rate,
        "per_device_train_batch_size": batch,
        "warmup_ratio": 0.06,
        "lr_scheduler_type": "linear",
        "bf16": has_bfloat16(),
        "use_cpu": not torch.accelerator.is_available(),
        "seed": seed,
        "save_steps": 100,
        "save_total_limit": 1,
        "logging_steps": 25,
        "report_to": "none",
        "dataloader_pin_memory": False,
    }
