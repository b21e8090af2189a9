"""Bundles whose checksums are right and which nevertheless must not serve, each with what is said about it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from reranker.bundle import BI_ENCODER, MANIFEST, MODEL, QUERIES, TOKENIZER, sha256
from tests.tiny_bundle import MAX_LENGTH, make_tiny_bundle, make_tokenizer

INPUTS = ("input_ids", "attention_mask")


def embedding_model(
    kind: str, *, rows: int = 0, width: int = 4, positions: int = MAX_LENGTH, inputs: tuple[str, str] = INPUTS, scale: float = 1.0
) -> onnx.ModelProto:
    """Return a model that adds embeddings of tokens and positions.

    Args:
        kind: ``hidden`` gives the states (texts, tokens, width), ``scores`` their mean (texts, 1), ``flat`` their means (texts, tokens).
        rows: tokens that it knows; 0 for those of ``make_tokenizer``.
        width: of the states.
        positions: tokens of the longest text that it reads.
        inputs: names of its inputs.
        scale: factor of the embeddings; NaN makes all of them NaN.
    """
    random = np.random.default_rng(7)
    constants = {
        "tokens": (random.normal(size=(rows or make_tokenizer().get_vocab_size(), width)) * scale).astype(np.float32),
        "places": random.normal(size=(positions, width)).astype(np.float32),
        "zero": np.array(0, np.int64),
        "one": np.array(1, np.int64),
    }
    axes = {"flat": [2], "scores": [1, 2]}.get(kind)
    nodes = [
        helper.make_node("Gather", ["tokens", inputs[0]], ["of_tokens"]),
        helper.make_node("Shape", [inputs[0]], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["length"]),
        helper.make_node("Range", ["zero", "length", "one"], ["numbers"]),
        helper.make_node("Gather", ["places", "numbers"], ["of_places"]),
        helper.make_node("Add", ["of_tokens", "of_places"], ["states" if axes else "output"]),
    ]
    if axes:
        constants["axes"] = np.array(axes, np.int64)
        nodes.append(helper.make_node("ReduceMean", ["states", "axes"], ["means"], keepdims=0))
        constants["columns"] = np.array([-1, 1] if kind == "scores" else [0, -1], np.int64)
        nodes.append(helper.make_node("Reshape", ["means", "columns"], ["output"]))
    graph = helper.make_graph(
        nodes,
        "embeddings",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ("texts", "tokens")) for name in inputs],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def put(folder: Path, name: str, data: bytes) -> None:
    """Write a file of the bundle, and its checksum into the manifest."""
    (folder / name).write_bytes(data)
    change_manifest(folder, lambda m: m["files"].update({name: {"sha256": sha256(folder / name), "bytes": len(data)}}))


def encoder(
    queries: onnx.ModelProto | None = None, *, architecture: str = BI_ENCODER, student: Mapping[str, object] | None = None, **model: Any
) -> Callable[[Path], None]:
    """Return a function that gives a tiny bundle an ``embedding_model``."""

    def make(folder: Path) -> None:
        put(folder, MODEL, embedding_model(**{"kind": "hidden", **model}).SerializeToString())
        if queries is not None:
            put(folder, QUERIES, queries.SerializeToString())
        change_manifest(folder, lambda m: m.update(format=2, student={"architecture": architecture, **(student or {})}))

    return make


def in_manifest(**values: object) -> Callable[[Path], None]:
    return lambda folder: change_manifest(folder, lambda m: m.update(values))


def raw_manifest(data: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / MANIFEST).write_bytes(data)


def fifo(name: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return make


def as_device(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    (folder / MANIFEST).symlink_to("/dev/zero")


def as_folder(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    (folder / MANIFEST).mkdir()


def external_weights(folder: Path) -> None:
    encoder()(folder)
    onnx.save(onnx.load(folder / MODEL), folder / MODEL, save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    put(folder, MODEL, (folder / MODEL).read_bytes())


def contradictory_tokenizer(folder: Path) -> None:
    tokenizer = json.loads((folder / TOKENIZER).read_text(encoding="utf-8"))
    tokenizer["post_processor"]["pair"][0]["SpecialToken"]["id"] = "[NONE]"
    put(folder, TOKENIZER, json.dumps(tokenizer).encode())


def zero_byte(folder: Path) -> None:
    change_manifest(folder, lambda m: m["files"].update({"a\0b": m["files"][MODEL]}))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "NaN weights": (encoder(scale=np.nan), "gives unusable scores: not every one is a finite number"),
    "infinite weights": (encoder(scale=np.inf), "gives unusable scores"),
    "token ids too large": (encoder(rows=9), r"model\.onnx does not know all tokens of the tokenizer, whose ids reach \d+"),
    "wrong inputs": (encoder(inputs=("ids", "mask")), r"model\.onnx has the wrong inputs: ids, mask\."),
    "wrong output": (encoder(kind="flat"), r"model\.onnx is not the model of a bi-encoder, as the manifest says: it gives float32 \(2, 3\)"),
    "cross-encoder as bi-encoder": (encoder(kind="scores"), r"is not the model of a bi-encoder, as the manifest says: it gives float32 \(2, 1\)"),
    "bi-encoder as cross-encoder": (encoder(architecture="cross_encoder"), r"is not the model of a cross-encoder, as the manifest says: .* \(2, 3, 4\)"),
    "encoders of different width": (encoder(embedding_model("hidden", width=3)), "differ in width: 3 and 4"),
    "not a tokenizer": (lambda folder: put(folder, TOKENIZER, b"{}"), r"tokenizer\.json cannot be loaded"),
    "a tokenizer of no use": (lambda folder: put(folder, TOKENIZER, b"[" * 100_000), r"tokenizer\.json cannot be loaded"),
    "a tokenizer that contradicts itself": (contradictory_tokenizer, r"tokenizer\.json cannot read texts \(the tokenizer failed"),
    "manifest 100,000 deep": (raw_manifest(b'{"format": 2, "training": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "is nested deeper than 100 levels"),
    "manifest 400 deep": (raw_manifest(b'{"format": 2, "training": ' + b"[" * 400 + b"]" * 400 + b"}"), "is nested deeper than 100 levels"),
    "manifest of 17 MB": (raw_manifest(b" " * 17 * 1024**2 + b"{}"), "is larger than 16 MiB"),
    "a pipe as manifest": (fifo(MANIFEST), "is not a regular file"),
    "a device as manifest": (as_device, "is not a regular file"),
    "a folder as manifest": (as_folder, "is not a regular file"),
    "a pipe as model": (fifo(MODEL), r"model\.onnx is not a regular file"),
    "half a surrogate pair in the name": (in_manifest(name="sh\ud800op"), "has half a surrogate pair"),
    "a control character in the name": (in_manifest(name="shop\x1b[2J"), "is wrong at 'name': it has control or invisible characters"),
    "a name of 201 characters": (in_manifest(name="x" * 201), "is wrong at 'name': .*200 characters"),
    "a file name with a zero byte": (zero_byte, r"names a file that no bundle has: 'a\\x00b'"),
    "external weights not listed": (external_weights, r"model\.onnx takes weights from 'model\.onnx\.data', which the manifest does not list"),
    "truncated model": (lambda folder: put(folder, MODEL, (folder / MODEL).read_bytes()[:-200]), r"model\.onnx cannot be loaded"),
    "empty model": (lambda folder: put(folder, MODEL, b""), r"model\.onnx cannot be loaded"),
    "max_length beyond the positions": (encoder(positions=MAX_LENGTH - 1), f"cannot read the {MAX_LENGTH} tokens that the manifest's max_length allows"),
    "calibration NaN": (in_manifest(calibration={"scale": float("nan")}), "has a number that is NaN or infinite"),
    "calibration too large": (raw_manifest(b'{"format": 2, "calibration": {"scale": 1e999}}'), "has a number that is NaN or infinite"),
    "calibration 0": (in_manifest(calibration={"scale": 0}), "gives the same score to every query and product"),
    "scale not a number": (encoder(student={"scale": "wide"}), "wrong scale of the student"),
    "format of 3,000 digits": (in_manifest(format=10**3_000), "has format 1000"),
}
"""What is done to a tiny bundle, and the message that it gets."""


def make_broken_bundle(folder: Path, name: str) -> Path:
    make_tiny_bundle(folder)
    BROKEN[name][0](folder)
    return folder
