"""Concurrent queries are encoded in one batch; scores, failures and interruptions stay with their own query."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from reranker import Reranker
from reranker.bundle import MODEL, TOKENIZER, load_bundle, write_bundle
from reranker.micro_batcher import MicroBatcher
from reranker.onnx_model import OnnxModel
from tests.served import until

QUERIES = ["laptop", "usb cable", "27 inch monitor", "micro sd card 64 gb", "ssd", "head set", "hp toner black", "wireless gaming mouse"]
PRODUCTS = ["Gaming laptop", "Laptop bag", {"title": "Desk", "brand": "IKEA"}, "USB A to USB B cable 1 m"]


class Gated:
    """Encodes a text as its length; the first run lasts until the gate is opened. "bad" fails."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.runs: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        self.runs.append(list(texts))
        if len(self.runs) == 1:
            assert self.gate.wait(60)
        if "bad" in texts:
            raise ValueError("bad")
        return np.array([[float(len(text))] for text in texts])


def waiting(batches: MicroBatcher) -> int:
    return len(batches._waiting)


def ask(pool: ThreadPoolExecutor, batches: MicroBatcher, texts: Sequence[str]) -> list[Future[np.ndarray]]:
    """Ask about each in a thread of its own, in this order."""
    asked = []
    for place, text in enumerate(texts):
        asked.append(pool.submit(batches.row, text))
        until(lambda place=place: waiting(batches) == place + 1)
    return asked


@pytest.fixture
def pool():
    with ThreadPoolExecutor(16) as pool:
        yield pool


def first(pool: ThreadPoolExecutor, read: Gated, batches: MicroBatcher) -> Future[np.ndarray]:
    asked = pool.submit(batches.row, "first")
    until(lambda: read.runs)
    return asked


def test_texts_that_arrive_during_a_run_are_encoded_in_the_next(pool: ThreadPoolExecutor) -> None:
    read = Gated()
    batches = MicroBatcher(read, batchable=lambda: True, max_batch=3)
    early = first(pool, read, batches)
    later = ask(pool, batches, ["a", "bb", "ccc", "dddd", "eeeee"])
    read.gate.set()
    assert [early.result(60)[0], *(asked.result(60)[0] for asked in later)] == [5, 1, 2, 3, 4, 5]
    assert read.runs == [["first"], ["a", "bb", "ccc"], ["dddd", "eeeee"]]
    batches.row("alone")
    assert read.runs[3:] == [["alone"]]


def test_two_runs_may_be_under_way(pool: ThreadPoolExecutor) -> None:
    read = Gated()
    batches = MicroBatcher(read, batchable=lambda: True, max_running=2)
    early = first(pool, read, batches)
    assert batches.row("second") == 6
    read.gate.set()
    assert early.result(60) == 5


def test_without_batch_invariance_each_text_is_encoded_alone_and_at_once(pool: ThreadPoolExecutor) -> None:
    read = Gated()
    batches = MicroBatcher(read, batchable=lambda: False)
    early = first(pool, read, batches)
    assert [batches.row(text)[0] for text in ("a", "bb")] == [1, 2]
    read.gate.set()
    assert early.result(60) == 5
    assert read.runs == [["first"], ["a"], ["bb"]]


def test_a_text_that_fails_fails_no_other(pool: ThreadPoolExecutor) -> None:
    read = Gated()
    batches = MicroBatcher(read, batchable=lambda: True)
    early = first(pool, read, batches)
    later = ask(pool, batches, ["a", "bad", "ccc"])
    read.gate.set()
    assert [early.result(60)[0], later[0].result(60)[0], later[2].result(60)[0]] == [5, 1, 3]
    with pytest.raises(ValueError, match="bad"):
        later[1].result(60)
    with pytest.raises(ValueError, match="bad"):
        batches.row("bad")
    assert batches.row("after") == 5


def test_an_interrupted_thread_blocks_no_other(pool: ThreadPoolExecutor) -> None:
    read = Gated()
    batches = MicroBatcher(read, batchable=lambda: True)
    early = first(pool, read, batches)

    def interrupt() -> None:
        until(lambda: waiting(batches) == 1)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has what it starts in the background ignore Ctrl-C
    try:
        interrupting = pool.submit(interrupt)
        with pytest.raises(KeyboardInterrupt):
            batches.row("given up")
    finally:
        signal.signal(signal.SIGINT, before)
    interrupting.result(60)
    later = ask(pool, batches, ["a"])
    read.gate.set()
    assert [early.result(60)[0], later[0].result(60)[0]] == [5, 1]
    assert read.runs == [["first"], ["a"]]


@pytest.mark.parametrize("bundle", ["default", "fast"])
def test_scores_are_the_same_however_many_ask_at_once(bundle: str, pool: ThreadPoolExecutor) -> None:
    student = Reranker.load(bundle)
    alone = [student.score(query, PRODUCTS) for query in QUERIES]
    runs: list[int] = []
    read = student._vectors._batcher._encode
    student._vectors._batcher._encode = lambda texts: (runs.append(len(texts)), read(texts))[1]
    for _ in range(20):
        together = list(pool.map(lambda query: student.score(query, PRODUCTS), QUERIES))
        assert all((a == b).all() for a, b in zip(alone, together, strict=True))
    assert max(runs) > 1


@pytest.mark.parametrize("by_largest", [False, True])
def test_batch_invariance_is_detected(by_largest: bool, tmp_path: Path) -> None:
    """A model that scales its output by the batch's largest value, as int8 models do, is not batch invariant."""
    nodes = [helper.make_node("Cast", ["input_ids"], ["ids"], to=TensorProto.FLOAT), helper.make_node("Unsqueeze", ["ids", "axis"], ["apart"])]
    nodes += [helper.make_node("ReduceMax", ["ids"], ["largest"], keepdims=0), helper.make_node("Div", ["apart", "largest"], ["scaled"])]
    output = helper.make_tensor_value_info("scaled" if by_largest else "apart", TensorProto.FLOAT, ["n", "tokens", 1])
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "tokens"]) for name in ("input_ids", "attention_mask")]
    axis = helper.make_tensor("axis", TensorProto.INT64, [1], [2])
    model = helper.make_model(helper.make_graph(nodes, "g", inputs, [output], [axis]), opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(tmp_path / "model.onnx"))
    files = {MODEL: tmp_path / "model.onnx", TOKENIZER: load_bundle(None).path / TOKENIZER}
    bundle = write_bundle(tmp_path / "bundle", files, {"name": "x", "created": "", "template": {}, "max_length": 64, "student": {}})
    assert OnnxModel(bundle, MODEL, 1).batch_invariant is not by_largest
