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


def can_share_prefixes(model: Any) -> bool:
    """Say whether a classifier reads from left to right only, and goes on from keys and values of earlier tokens."""
    takes = inspect.signature(type(model).forward).parameters
    both_ways = getattr(model.config, "use_bidirectional_attention", False)
    return {"past_key_values", "position_ids", "use_cache"} <= takes.keys() and not model.config.is_encoder_decoder and not both_ways


def families(prompts: Sequence[Sequence[int]], alike: Sequence[Hashable]) -> list[Family]:
    """Group tokenised prompts by ``alike`` (their products), where half of the shortest or more is shared; the longest first."""
    by_kind: dict[Hashable, list[int]] = defaultdict(list)
    for i, kind in enumerate(alike):
        by_kind[kind].append(i)
    made: list[Family] = []
    for members in by_kind.values():
        shared = _shared([prompts[i] for i in members])
        if 2 * shared < min(len(prompts[i]) for i in members):
            made += [Family((i,), 0) for i in members]
        else:
            made.append(Family(tuple(members), shared))
    return sorted(made, key=lambda family: -max(len(prompts[i]) for i in family.members))


def _shared(prompts: Sequence[Sequence[int]]) -> int:
    """Return how many first tokens all have in common, leaving each at least one of its own; 0 for a prompt alone."""
    if len(prompts) < 2:
        return 0
    shortest = min(len(prompt) for prompt in prompts) - 1
    return next((at for at in range(shortest) if len({prompt[at] for prompt in prompts}) > 1), shortest)


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


def logits(model: Any, prompts: Sequence[Sequence[int]], of: Sequence[Family], pad: int) -> torch.Tensor:
    """Return the classifier's logits of the families' members in turn, float32 (members, grades), reading each shared beginning once.

    Args:
        of: a batch; all its families share something, or none does.
    """
    members = [i for family in of for i in family.members]
    if not of[0].shared:
        tokens, mask = _padded([prompts[i] for i in members], pad, left=False)
        return model(input_ids=tokens.to(model.device), attention_mask=mask.to(model.device)).logits.float()
    # Beginnings are padded on their left and ends on their right, so that what is read stands side by side.
    begins, seen = _padded([prompts[family.members[0]][: family.shared] for family in of], pad, left=True)
    places = (seen.cumsum(dim=1) - 1).clamp(min=0)
    cache = model(input_ids=begins.to(model.device), attention_mask=seen.to(model.device), position_ids=places.to(model.device), use_cache=True).past_key_values
    family_of = torch.tensor([number for number, family in enumerate(of) for _ in family.members])
    cache.batch_select_indices(family_of.to(model.device))
    shared = torch.tensor([family.shared for family in of])[family_of]
    ends, mask = _padded([prompts[i][int(n) :] for i, n in zip(members, shared, strict=True)], pad, left=False)
    out = model(
        input_ids=ends.to(model.device),
        attention_mask=torch.cat([seen[family_of], mask], dim=1).to(model.device),
        position_ids=(shared[:, None] + torch.arange(ends.shape[1])).to(model.device),
        past_key_values=cache,
        use_cache=True,
    )
    return out.logits.float()


def _padded(prompts: Sequence[Sequence[int]], pad: int, *, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids and mask, (n, longest)."""
    longest = max(len(prompt) for prompt in prompts)
    tokens = torch.full((len(prompts), longest), pad)
    mask = torch.zeros((len(prompts), longest), dtype=torch.long)
    for row, prompt in enumerate(prompts):
        at = slice(longest - len(prompt), longest) if left else slice(0, len(prompt))
        tokens[row, at] = torch.tensor(list(prompt))
        mask[row, at] = 1
    return tokens, mask
