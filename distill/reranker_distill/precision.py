"""The arithmetic in which models train and a teacher labels: bfloat16 only where the machine has it in hardware."""

from __future__ import annotations

import warnings

import torch
from torch import nn

from reranker.errors import RecipeError
from reranker_distill.recipe import Precision


def has_bfloat16() -> bool:
    """Whether this machine multiplies bfloat16 in hardware: a GPU, or a CPU with AVX-512 or Arm's instructions for it. Others take hundreds of times longer."""
    return torch.accelerator.is_available() or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def dtype_of(name: str) -> torch.dtype:
    """Return the type that weights are loaded in where a recipe says "float32" or "bfloat16"."""
    return torch.bfloat16 if name == "bfloat16" and has_bfloat16() else torch.float32


def turn_to(precision: Precision, model: nn.Module, grades: int) -> None:
    """Turn a loaded classifier of ``grades`` grades, in place, to the precision it shall label in; "bfloat16" is float32 where ``has_bfloat16`` says no.

    Raises:
        RecipeError: int8 on a GPU, or with a torch that no longer has it.
    """
    if precision == "int8":
        _to_int8(model, grades)
    elif dtype_of(precision) == torch.bfloat16:
        _to_bfloat16(model, grades)
    else:
        model.float()


def _to_bfloat16(model: nn.Module, grades: int) -> None:
    """Turn the weights once: autocast would turn the frozen ones anew for each batch."""
    model.to(torch.bfloat16)
    name, head = _head(model, grades)
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, _Float32Head(head))


def _to_int8(model: nn.Module, grades: int) -> None:
    """Linear layers get 8-bit weights, and their inputs are quantised as they come; the head stays in float32."""
    if next(model.parameters()).device.type != "cpu":
        raise RecipeError('labelling.precision = "int8" is for CPUs, and this machine labels on a GPU.', hint='Use "bfloat16".')
    try:
        from torch.ao.quantization import default_dynamic_qconfig, quantize_dynamic
    except ImportError as error:
        raise RecipeError(f"torch {torch.__version__} has no dynamic quantisation any more.", hint='Use labelling.precision = "bfloat16".') from error
    head, _ = _head(model, grades)
    linear = {name: default_dynamic_qconfig for name, module in model.named_modules() if isinstance(module, nn.Linear) and name != head}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it will move to another library
        quantize_dynamic(model.float(), linear, inplace=True)


def _head(model: nn.Module, grades: int) -> tuple[str, nn.Linear]:
    """Return the last layer and its name."""
    return [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear) and module.out_features == grades][-1]


class _Float32Head(nn.Module):
    """The last layer in float32: bfloat16 grades would tie products that differ."""

    def __init__(self, head: nn.Linear) -> None:
        super().__init__()
        self.head = head.float()

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        graded: torch.Tensor = self.head(hidden.float())
        return graded
