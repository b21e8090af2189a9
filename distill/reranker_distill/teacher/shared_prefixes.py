"""Prompts of one product begin alike: a decoder reads what they share once, and then only what differs."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import torch


class Family(NamedTuple):
    """Prompts that share their first ``shared`` tokens; ``members`` are their places in the list. A prompt alone shares none."""

    members: tuple[int, ...]
    shared: int


def reads_left_to_right(model: Any) -> bool:
    """Say whether a model reads from left to right only, and can go on from the keys and values of earlier tokens."""
    takes = inspect.signature(type(model).forward).parameters
    both_ways = getattr(model.config, "use_bidirectional_attention", False)
    return {"past_key_values", "position_ids", "use_cache"} <= takes.keys() and not model.config.is_encoder_decoder and not both_ways


def body(model: Any) -> Any:
    """Return a model without its head."""
    return model.get_decoder() if model.base_model is model and model.get_output_embeddings() is not None else model.base_model


def families(prompts: Sequence[Sequence[int]], alike: Sequence[Hashable], own: Sequence[int] | None = None) -> list[Family]:
    """Group tokenised prompts by ``alike`` (their products), where half of the shortest or more is shared; the longest first.

    ``own`` says how many last tokens of each may not be shared; one where it is not given.
    """
    by_kind: dict[Hashable, list[int]] = defaultdict(list)
    for i, kind in enumerate(alike):
        by_kind[kind].append(i)
    made: list[Family] = []
    for members in by_kind.values():
        shared = _shared([prompts[i][: len(prompts[i]) - (own[i] if own else 1)] for i in members])
        if 2 * shared < min(len(prompts[i]) for i in members):
            made += [Family((i,), 0) for i in members]
        else:
            made.append(Family(tuple(members), shared))
    return sorted(made, key=lambda family: -max(len(prompts[i]) for i in family.members))


def _shared(beginnings: Sequence[Sequence[int]]) -> int:
    """Return how many first tokens all have in common; 0 for one alone."""
    if len(beginnings) < 2:
        return 0
    shortest = min(map(len, beginnings))
    return next((at for at in range(shortest) if len({tokens[at] for tokens in beginnings}) > 1), shortest)


def batches(made: Sequence[Family], prompts: Sequence[Sequence[int]], tokens: int) -> Iterator[list[Family]]:
    """Yield families in batches of at most ``tokens`` tokens, padding and what they share included; those of one prompt by themselves."""
    for shares in (True, False):
        batch: list[Family] = []
        rows = longest = 0
        for family in made:
            if bool(family.shared) != shares:
                continue
            own = max(len(prompts[i]) for i in family.members)
            room = max(1, tokens // own)
            for start in range(0, len(family.members), room):
                part = family._replace(members=family.members[start : start + room])
                longest = max(longest, own)
                if batch and (rows + len(part.members)) * longest > tokens:
                    yield batch
                    batch, rows, longest = [], 0, own
                batch.append(part)
                rows += len(part.members)
        if batch:
            yield batch


def read(model: Any, prompts: Sequence[Sequence[int]], of: Sequence[Family], pad: int) -> Any:
    """Return a decoder's output on the last tokens of the families' members in turn, padded on their left, reading each shared beginning once.

    Args:
        of: a batch; all its families share something, or none does.
    """
    device = model.device
    members = [i for family in of for i in family.members]
    if not of[0].shared:
        tokens, mask = padded([prompts[i] for i in members], pad, left=True)
        return model(input_ids=tokens.to(device), attention_mask=mask.to(device), position_ids=_places(mask).to(device))
    begins, seen = padded([prompts[family.members[0]][: family.shared] for family in of], pad, left=True)
    begun = body(model)(input_ids=begins.to(device), attention_mask=seen.to(device), position_ids=_places(seen).to(device), use_cache=True)
    family_of = torch.tensor([number for number, family in enumerate(of) for _ in family.members])
    begun.past_key_values.batch_select_indices(family_of.to(device))
    ends, mask = padded([prompts[i][family.shared :] for family in of for i in family.members], pad, left=True)
    seen = torch.cat([seen[family_of], mask], dim=1)
    return model(
        input_ids=ends.to(device),
        attention_mask=seen.to(device),
        position_ids=_places(seen)[:, -ends.shape[1] :].to(device),
        past_key_values=begun.past_key_values,
        use_cache=True,
    )


def _places(mask: torch.Tensor) -> torch.Tensor:
    """Return each token's position, (n, tokens), of those that the mask leaves."""
    return (mask.cumsum(dim=1) - 1).clamp(min=0)


def padded(prompts: Sequence[Sequence[int]], pad: int, *, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids and mask, (n, longest)."""
    longest = max(len(prompt) for prompt in prompts)
    tokens = torch.full((len(prompts), longest), pad)
    mask = torch.zeros((len(prompts), longest), dtype=torch.long)
    for row, prompt in enumerate(prompts):
        at = slice(longest - len(prompt), longest) if left else slice(0, len(prompt))
        tokens[row, at] = torch.tensor(list(prompt))
        mask[row, at] = 1
    return tokens, mask
