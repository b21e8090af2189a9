"""A bundle with a student of a few kilobytes. Its score grows with the share of the query's words that the product's text contains."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from reranker.bundle import MODEL, TOKENIZER, write_bundle
from reranker.demo_data import demo_file

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
MAX_LENGTH = 64


def make_tiny_bundle(folder: Path, *, words: Iterable[str] = (), name: str = "tiny", level: float = 4.0) -> Path:
    """Write the bundle to ``folder`` and return it.

    A product that contains every word of the query scores sigmoid(level), 0.982 at 4; one that contains none
    sigmoid(-level), 0.018. Bundles of different levels have different versions.
    The vocabulary is the words of the demo judgments' queries and ``words``; other words match nothing.
    """
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer, model = Path(scratch, TOKENIZER), Path(scratch, MODEL)
        make_tokenizer(words).save(str(tokenizer))
        onnx.save(_model(level), str(model))
        manifest = {"name": name, "created": "2025-01-01T00:00:00Z", "template": {}, "max_length": MAX_LENGTH, "student": {"kind": "word overlap"}}
        return write_bundle(folder, {MODEL: model, TOKENIZER: tokenizer}, manifest).path


def make_tokenizer(words: Iterable[str] = ()) -> Tokenizer:
    with demo_file("judgments.csv").open(encoding="utf-8", newline="") as lines:
        known = {word for row in csv.DictReader(lines) for word in row["query"].lower().split()}
    vocabulary = [*SPECIAL, *sorted(known | {word.lower() for word in words})]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def _model(level: float) -> onnx.ModelProto:
    """Logit = level · (2 · matched query words / query words - 1), over the tokens in the attention mask."""

    def node(op: str, inputs: list[str], output: str, **attributes: object) -> onnx.NodeProto:
        return helper.make_node(op, inputs, [output], **attributes)

    constants = {
        "last_special": np.array(len(SPECIAL) - 1, np.int64),
        "zero": np.array(0, np.int64),
        "one": np.array(1, np.int64),
        "axis1": np.array([1], np.int64),
        "axis2": np.array([2], np.int64),
        "range": np.array(2 * level, np.float32),
        "level": np.array(level, np.float32),
        "least": np.array(1, np.float32),
        "two": np.array(2, np.float32),
    }
    nodes = [
        node("Greater", ["input_ids", "last_special"], "known"),
        node("Equal", ["attention_mask", "one"], "seen"),
        node("And", ["known", "seen"], "word"),
        node("Equal", ["token_type_ids", "zero"], "first"),
        node("Not", ["first"], "second"),
        # counts every token of the query, known or not; its two special tokens are subtracted below
        node("And", ["first", "seen"], "query_token"),
        node("And", ["word", "first"], "query_word"),
        node("And", ["word", "second"], "product_word"),
        node("Unsqueeze", ["input_ids", "axis2"], "rows"),
        node("Unsqueeze", ["input_ids", "axis1"], "columns"),
        node("Equal", ["rows", "columns"], "same"),
        node("Unsqueeze", ["product_word", "axis1"], "in_product"),
        node("And", ["same", "in_product"], "match"),
        node("Cast", ["match"], "match_f", to=TensorProto.FLOAT),
        node("ReduceMax", ["match_f", "axis2"], "matched", keepdims=0),
        node("Cast", ["query_word"], "query_word_f", to=TensorProto.FLOAT),
        node("Mul", ["matched", "query_word_f"], "hit"),
        node("ReduceSum", ["hit", "axis1"], "hits", keepdims=1),
        node("Cast", ["query_token"], "query_token_f", to=TensorProto.FLOAT),
        node("ReduceSum", ["query_token_f", "axis1"], "query_length", keepdims=1),
        node("Sub", ["query_length", "two"], "query_words"),
        node("Max", ["query_words", "least"], "at_least_one"),
        node("Div", ["hits", "at_least_one"], "share"),
        node("Mul", ["share", "range"], "scaled"),
        node("Sub", ["scaled", "level"], "logits"),
    ]

    pairs = ("batch", "tokens")
    graph = helper.make_graph(
        nodes,
        "word_overlap",
        [helper.make_tensor_value_info(name, TensorProto.INT64, pairs) for name in ("input_ids", "attention_mask", "token_type_ids")],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ("batch", 1))],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model
