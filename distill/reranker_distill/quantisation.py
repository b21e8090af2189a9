"""A student's ONNX model in int8: weights alone, or arithmetic too."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_MIN_WEIGHTS = 4_096  # a smaller matrix is not worth storing in int8
_INT8_OPERATORS = ("MatMul", "Attention")


def inner_nodes(model: Path) -> list[str]:
    """Return the names of the nodes that int8 arithmetic can compute: matrix products with constant weights, fused attention."""
    import onnx

    graph = onnx.load(model).graph
    constant = {weight.name for weight in graph.initializer}
    return [node.name for node in graph.node if node.op_type in _INT8_OPERATORS and node.input[1] in constant]


def quantise(source: Path, target: Path, *, exclude: Sequence[str]) -> Path:
    """Quantise all inner nodes but ``exclude`` by ONNX Runtime's dynamic quantisation, with a scale for each output.

    Activations get one scale for the whole tensor. BERT's have a few outliers, an order of magnitude above the rest
    (behind the first layers' attention and GELU), that take most of the 8 bits: those layers change the order of the scores.
    """
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # Not through optimum: it cannot set the output type of ONNX Runtime's fused operators (DefaultTensorType), which shape
    # inference does not know.
    with _silent():
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=list(_INT8_OPERATORS),
            per_channel=True,
            reduce_range=True,  # 7-bit weights: CPUs without VNNI add 8-bit products in 16 bits, which would saturate
            weight_type=QuantType.QInt8,
            nodes_to_exclude=list(exclude),
            extra_options={"DefaultTensorType": TensorProto.FLOAT, "MatMulConstBOnly": True, "WeightSymmetric": True},
        )
    return target


def store_weights_in_int8(source: Path, target: Path, *, embeddings_only: bool = False) -> Path:
    """Replace each large float matrix by its int8 form and a DequantizeLinear node, which ONNX Runtime computes once, at loading.

    Args:
        embeddings_only: leave the other matrices in float.
    """
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    model: Any = onnx.load(source)
    embeddings = {node.input[0] for node in model.graph.node if node.op_type == "Gather"}
    nodes, weights = [], []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        small = values.dtype != np.float32 or values.ndim != 2 or values.size < _MIN_WEIGHTS
        if small or (embeddings_only and weight.name not in embeddings):
            weights.append(weight)
            continue
        axis = 0 if weight.name in embeddings else 1  # a scale for each word of an embedding, or for each output of a layer
        scale = np.maximum(np.abs(values).max(axis=1 - axis), 1e-12).astype(np.float32) / 127
        stored = np.rint(values / np.expand_dims(scale, 1 - axis)).astype(np.int8)
        weights += [numpy_helper.from_array(stored, f"{weight.name}_int8"), numpy_helper.from_array(scale, f"{weight.name}_scale")]
        nodes.append(helper.make_node("DequantizeLinear", [f"{weight.name}_int8", f"{weight.name}_scale"], [weight.name], axis=axis))
    nodes += list(model.graph.node)
    for kept, new in ((model.graph.initializer, weights), (model.graph.node, nodes)):
        del kept[:]
        kept.extend(new)
    onnx.save(model, target)
    return target


@contextmanager
def _silent() -> Iterator[None]:
    """Hide ONNX Runtime's repeated advice to pre-process the model, which the fusions replace."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
