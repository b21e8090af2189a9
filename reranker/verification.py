"""Verifies that a loaded bundle gives usable scores, before it serves."""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from reranker.bundle import BI_ENCODER, MODEL, QUERIES, TOKENIZER, Bundle
from reranker.errors import BundleError
from reranker.onnx_model import OnnxModel, one_line
from reranker.reranker import Reranker

QUERIES_TRIED = ("laptop", "usb-c cable 2 m", "女性 靴 24.5")
PRODUCTS_TRIED = (
    "a laptop computer",
    "-",
    "USB C cable | 2 m | 100 W",
    "Кроссовки женские, белые",
    "電池 4本 ｜ 単3形",
    "a long description of a product that nobody is looking for " * 3,
)
_EXTERNAL = re.compile(rb"\x0a\x08location\x12(.)", re.DOTALL)
"""Where a tensor of an ONNX file names the file that holds its weights, followed by the name's length."""
T = TypeVar("T")
_HINT = "Distil the bundle again, or use the shipped one."


def verify(reranker: Reranker) -> None:
    """Verify what ``load_bundle`` cannot see: the models fit their tokenizer, their kind and each other, and the scores are usable.

    Takes some runs of the model; caches stay as they are.

    Raises:
        BundleError: what is wrong, and with which file.
    """
    bundle = reranker.bundle
    largest_id = reranker.models[MODEL].largest_id()
    is_bi_encoder = reranker.architecture == BI_ENCODER
    widths = {name: _verify_model(bundle, model, largest_id, is_bi_encoder=is_bi_encoder) for name, model in reranker.models.items()}
    if len({*widths.values()}) > 1:
        sizes = f"{widths[QUERIES]} and {widths[MODEL]}"
        raise BundleError(f"The vectors of {QUERIES} and {MODEL} in {bundle.path} differ in width: {sizes}.", hint="Distil both from the same student.")
    pairs = [(query, text) for query in QUERIES_TRIED for text in PRODUCTS_TRIED]
    _tried(bundle.file(TOKENIZER), "cannot read texts", lambda: reranker.models[MODEL].tokenise(PRODUCTS_TRIED[:1] if is_bi_encoder else pairs[:1]))
    with np.errstate(all="ignore"):
        logits = _tried(bundle.path / MODEL, "cannot score texts", lambda: reranker.encoder().logits(pairs))
        relevance = reranker.calibrated(logits)
    if not np.isfinite(logits).all() or not np.isfinite(relevance).all():
        raise unusable(bundle)
    if np.ptp(logits) == 0 or np.ptp(relevance) == 0:
        raise BundleError(f"The bundle {bundle.path} gives the same score to every query and product.", hint=_HINT)


def unusable(bundle: Bundle) -> BundleError:
    return BundleError(f"The bundle {bundle.path} gives unusable scores: not every one is a finite number.", hint=_HINT)


def _verify_model(bundle: Bundle, model: OnnxModel, largest_id: int, *, is_bi_encoder: bool) -> int:
    """Verify one model by its output for rows of token ids, and return the output's last dimension."""
    _verify_external_weights(bundle, model.path)
    longest = bundle.manifest.max_length
    output = _tried(model.path, "cannot be run", lambda: model.infer(model.rows([0] * 3, 2)))
    _tried(model.path, f"does not know all tokens of the tokenizer, whose ids reach {largest_id}", lambda: model.infer(model.rows([largest_id], 1)))
    _tried(model.path, f"cannot read the {longest} tokens that the manifest's max_length allows", lambda: model.infer(model.rows([0] * longest, 1)))
    shape, number = output.shape, np.issubdtype(output.dtype, np.floating)
    if is_bi_encoder and not (number and len(shape) == 3 and shape[:2] == (2, 3) and shape[2]):
        raise _wrong_kind(model.path, "a bi-encoder", "hidden states (texts, tokens, width)", output)
    if not is_bi_encoder and not (number and len(shape) == 2 and shape[0] == 2 and shape[1]):
        raise _wrong_kind(model.path, "a cross-encoder", "scores (pairs, 1)", output)
    return int(shape[-1])


def _wrong_kind(path: Path, kind: str, wanted: str, found: np.ndarray) -> BundleError:
    return BundleError(
        f"{path} is not the model of {kind}, as the manifest says: it gives {found.dtype} {found.shape} for 2 rows of 3 tokens, not {wanted}.",
        hint="Distil the bundle again, or correct student.architecture in its manifest.",
    )


def _tried(path: Path, problem: str, run: Callable[[], T]) -> T:
    try:
        return run()
    except Exception as error:  # the libraries have exceptions of their own
        raise BundleError(f"{path} {problem} ({one_line(error)}).", hint=_HINT) from error


def _verify_external_weights(bundle: Bundle, path: Path) -> None:
    """Every file that the model takes weights from must be in the manifest, which has its checksum."""
    listed = {os.path.realpath(bundle.file(name)) for name in bundle.manifest.files}
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for found in _EXTERNAL.finditer(data):
            name = data[found.end() : found.end() + found[1][0]].decode(errors="replace")
            if os.path.realpath(path.parent / name) not in listed:
                raise BundleError(f"{path} takes weights from {name!a}, which the manifest does not list.", hint="Write the bundle again with that file.")
