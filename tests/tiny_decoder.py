"""A decoder LLM of two layers with random weights, as a hub would have it: with a language model's head, and no classifier."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

WORDS = "product search query relevance laptop hose lamp bag garden desk usb hub red black white :"


def make_tiny_decoder(folder: Path) -> Path:
    """Write model and tokenizer to ``folder`` and return it."""
    words = ["<pad>", "<unk>", "<eos>", *WORDS.split()]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<eos>").save_pretrained(folder)  # no pad token: LLMs have none
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, head_dim=16
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
    return folder
