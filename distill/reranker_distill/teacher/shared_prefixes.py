"""Prompts of one product share a prefix: a decoder computes it once, and then only what differs."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import torch


class PrefixGroup(NamedTuple):
    """Prompts that share their first ``shared`` tokens; ``members`` are their indices. A prompt alone shares 0."""

    members: tuple[int, ...]
    shared: int


def tokens_per_batch() -> int:
    """Return how many tokens a batch may have, padding included."""
    return 32_768 if torch.accelerator.is_available() else 4_096


def is_decoder(model: Any) -> bool:
    """Whether a model attends to earlier tokens only, and accepts their cached keys and values."""
    parameters = inspect.signature(type(model).forward).parameters
    bidirectional = getattr(model.config, "use_bidirectional_attention", False)
    return {"past_key_values", "position_ids", "use_cache"} <= parameters.keys() and not model.config.is_encoder_decoder and not bidirectional


def body(model: Any) -> Any:
    """Return a model without its head."""
    return model.get_decoder() if model.base_model is model and model.get_output_embeddings() is not None else model.base_model


def group_by_prefix(prompts: Sequence[Sequence[int]], keys: Sequence[Hashable], suffixes: Sequence[int] | None = None) -> list[PrefixGroup]:
    """Group tokenised prompts of the same key (their product), where they share half of the shortest or more; the longest first.

    ``suffixes`` says how many last tokens of each may not be shared; one by default.
    """
    by_key: dict[Hashable, list[int]] = defaultdict(list)
    for i, key in enumerate(keys):
        by_key[key].append(i)
    groups: list[PrefixGroup] = []
    for members in by_key.values():
        shared = _shared([prompts[i][: len(prompts[i]) - (suffixes[i] if suffixes else 1)] for i in members])
        if 2 * shared < min(len(prompts[i]) for i in members):
            groups += [PrefixGroup((i,), 0) for i in members]
        else:
            groups.append(PrefixGroup(tuple(members), shared))
    return sorted(groups, key=lambda group: -max(len(prompts[i]) for i in group.members))


def _shared(prefixes: Sequence[Sequence[int]]) -> int:
    """Return how many first tokens all have in common; 0 for one alone."""
    if len(prefixes) < 2:
        return 0
    shortest = min(map(len, prefixes))
    return next((at for at in range(shortest) if len({tokens[at] for tokens in prefixes}) > 1), shortest)


def make_batches(groups: Sequence[PrefixGroup], prompts: Sequence[Sequence[int]], tokens: int | None = None) -> Iterator[list[PrefixGroup]]:
    """Yield groups in batches of at most ``tokens`` tokens, padding and prefixes included; single prompts are batched by themselves."""
    limit = tokens or tokens_per_batch()
    for shares in (True, False):
        batch: list[PrefixGroup] = []
        rows = longest = 0
        for group in groups:
            if bool(group.shared) != shares:
                continue
            length = max(len(prompts[i]) for i in group.members)
            room = max(1, limit // length)
            for start in range(0, len(group.members), room):
                part = group._replace(members=group.members[start : start + room])
                longest = max(longest, length)
                if batch and (rows + len(part.members)) * longest > limit:
                    yield batch
                    batch, rows, longest = [], 0, length
                batch.append(part)
                rows += len(part.members)
        if batch:
            yield batch


def run_decoder(model: Any, prompts: Sequence[Sequence[int]], batch: Sequence[PrefixGroup], pad_id: int) -> Any:
    """Return a decoder's output on the members of the groups in turn, padded left; of a shared prefix, only the tokens after it.

    Args:
        batch: groups that all share something, or none of which does.
    """
    device = model.device
    members = [i for group in batch for i in group.members]
    if not batch[0].shared:
        tokens, mask = pad([prompts[i] for i in members], pad_id, left=True)
        return model(input_ids=tokens.to(device), attention_mask=mask.to(device), position_ids=_positions(mask).to(device))
    prefixes, prefix_mask = pad([prompts[group.members[0]][: group.shared] for group in batch], pad_id, left=True)
    cached = body(model)(input_ids=prefixes.to(device), attention_mask=prefix_mask.to(device), position_ids=_positions(prefix_mask).to(device), use_cache=True)
    group_of = torch.tensor([number for number, group in enumerate(batch) for _ in group.members])
    cached.past_key_values.batch_select_indices(group_of.to(device))
    suffixes, suffix_mask = pad([prompts[i][group.shared :] for group in batch for i in group.members], pad_id, left=True)
    mask = torch.cat([prefix_mask[group_of], suffix_mask], dim=1)
    return model(
        input_ids=suffixes.to(device),
        attention_mask=mask.to(device),
        position_ids=_positions(mask)[:, -suffixes.shape[1] :].to(device),
        past_key_values=cached.past_key_values,
        use_cache=True,
    )


def _positions(mask: torch.Tensor) -> torch.Tensor:
    """Return each token's position, (n, tokens), among those that the mask keeps."""
    return (mask.cumsum(dim=1) - 1).clamp(min=0)


def pad(prompts: Sequence[Sequence[int]], pad_id: int, *, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids and mask, (n, longest)."""
    longest = max(len(prompt) for prompt in prompts)
    tokens = torch.full((len(prompts), longest), pad_id)
    mask = torch.zeros((len(prompts), longest), dtype=torch.long)
    for row, prompt in enumerate(prompts):
        at = slice(longest - len(prompt), longest) if left else slice(0, len(prompt))
        tokens[row, at] = torch.tensor(list(prompt))
        mask[row, at] = 1
    return tokens, mask
