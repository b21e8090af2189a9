"""Batches of texts of nearly equal length, so that little of what a model computes is padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

BATCH_SIZE = 8
"""On a CPU: small enough that a long text lengthens few others, large enough to keep the cores busy."""

Text = TypeVar("Text", str, tuple[str, str])


def encode_by_length(texts: Sequence[Text], encode: Callable[[list[Text]], Tensor]) -> Tensor:
    """Return ``encode`` of texts or pairs of texts, (n, …), in their order.

    On a CPU texts are sorted by length and encoded in small batches; an accelerator gets all at once.

    Args:
        encode: n texts in, a tensor of n rows out.
    """
    if torch.accelerator.is_available():
        return encode(list(texts))
    order = sorted(range(len(texts)), key=lambda i: _length(texts[i]))
    batches = [order[start : start + BATCH_SIZE] for start in range(0, len(order), BATCH_SIZE)]
    rows = torch.cat([encode([texts[i] for i in batch]) for batch in batches])
    return rows[torch.tensor(order, device=rows.device).argsort()]


def _length(text: str | tuple[str, str]) -> int:
    return len(text) if isinstance(text, str) else sum(map(len, text))
