"""Texts through a network in parts of nearly equal lengths, so that little of what it computes is padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

TEXTS_AT_A_TIME = 8
"""On a CPU: few enough that a long text makes few others long, enough to keep the cores busy."""

Text = TypeVar("Text", str, tuple[str, str])


def read_by_length(texts: Sequence[Text], read: Callable[[list[Text]], Tensor]) -> Tensor:
    """Return ``read`` of texts or pairs of texts, (n, …), in their order.

    On a CPU the texts go through in parts, sorted by length; an accelerator, which a small part leaves idle, gets all at once.

    Args:
        read: the network: n texts in, a tensor of n rows out.
    """
    if torch.accelerator.is_available():
        return read(list(texts))
    order = sorted(range(len(texts)), key=lambda i: _length(texts[i]))
    parts = [order[start : start + TEXTS_AT_A_TIME] for start in range(0, len(order), TEXTS_AT_A_TIME)]
    rows = torch.cat([read([texts[i] for i in part]) for part in parts])
    return rows[torch.tensor(order, device=rows.device).argsort()]


def _length(text: str | tuple[str, str]) -> int:
    return len(text) if isinstance(text, str) else sum(map(len, text))
