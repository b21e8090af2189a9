"""A teacher of a few kilobytes with random weights, as a training stage would have left it."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from reranker.text import ProductTemplate
from reranker_distill.recipe import Teacher

SPECIAL = ["[PAD]", "[UNK]", "<eos>"]


def make_tiny_teacher(
    folder: Path, *, words: str = "product search query relevance laptop 0 1 2 3 4 5 6 7 8 9 : - . , / cable usb black", bf16: bool = False
) -> Path:
    """Write the teacher to ``folder`` and return it."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate([*SPECIAL, *words.split()])}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True)])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", eos_token="<eos>").save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=128,
        initializer_range=0.5,
        num_labels=4,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    settings = Teacher(model="tiny", bf16=bf16, lora_rank=0)
    (folder / "teacher.json").write_text(json.dumps({"settings": settings.model_dump(), "template": ProductTemplate().model_dump()}))
    return folder
