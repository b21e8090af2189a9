"""The arithmetic in which models train and a teacher labels: bfloat16 only where the hardware supports it."""

from __future__ import annotations

import torch
from torch import nn


def has_bfloat16() -> bool:
    """Whether this machine multiplies bfloat16 in hardware: a GPU, or a CPU with AVX-512 or Arm's instructions. Others take hundreds of times longer."""
    return torch.accelerator.is_available() or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def dtype_of(name: str) -> torch.dtype:
    """Return the torch type for "float32" or "bfloat16"; float32 for both where the hardware has no bfloat16."""
    return torch.bfloat16 if name == "bfloat16" and has_bfloat16() else torch.float32


def to_bfloat16(model: nn.Module, grades: int) -> None:
    """Convert a loaded classifier of ``grades`` grades, in place, to bfloat16 with its last layer in float32; to float32 without the hardware.

    The weights are converted once: autocast would convert frozen ones for each batch.
    """
    if not has_bfloat16():
        model.float()
        return
    model.to(torch.bfloat16)
    name, head = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear) and module.out_features == grades][-1]
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, _Float32Head(head))


class _Float32Head(nn.Module):
    """The last layer in float32: grades in bfloat16 would tie products that differ."""

    def __init__(self, head: nn.Linear) -> None:
        super().__init__()
        self.head = head.float()

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        graded: torch.Tensor = self.head(hidden.float())
        return graded
