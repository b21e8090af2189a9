"""A student's ONNX model in int8: weights alone, or arithmetic too."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_LEAST_WEIGHTS = 4_096  # a smaller matrix is not worth storing in int8
_ARITHMETIC = ("MatMul", "Attention")


def inner_nodes(model: Path) -> list[str]:
    """Return the names of the nodes that int8 arithmetic can compute: matrix products with constant weights, fused attention."""
    import onnx

    graph = onnx.load(model).graph
    constant = {weight.name for weight in graph.initializer}
    return [node.name for node in graph.node if node.op_type in _ARITHMETIC and node.input[1] in constant]


def quantise(source: Path, target: Path, *, exclude: Sequence[str], reduce_range: bool) -> Path:
    """Let int8 arithmetic compute all inner nodes but ``exclude``: ONNX Runtime's dynamic quantisation, a scale for each output.

    Activations get one scale for the whole tensor. BERT's have a few outliers, an order of magnitude above the rest
    (behind the first layers' attention and GELU), that take most of the 8 bits: those layers lose order, not the weights.

    Args:
        reduce_range: weights in seven bits: CPUs without VNNI add 8-bit products in 16 bits, which saturate otherwise.
    """
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # Not through optimum: it cannot say which type the fused operators give (DefaultTensorType), which shape inference
    # does not know, since they are ONNX Runtime's own.
    with _silent():
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=list(_ARITHMETIC),
            per_channel=True,
            reduce_range=reduce_range,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=list(exclude),
            extra_options={"DefaultTensorType": TensorProto.FLOAT, "MatMulConstBOnly": True, "WeightSymmetric": True},
        )
    return target


def store_weights_in_int8(source: Path, target: Path, *, looked_up_only: bool = False) -> Path:
    """Replace each large float matrix by its int8 form and a DequantizeLinear node, which ONNX Runtime computes once, at loading.

    Args:
        looked_up_only: embeddings alone.
    """
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    model: Any = onnx.load(source)
    looked_up = {node.input[0] for node in model.graph.node if node.op_type == "Gather"}
    nodes, weights = [], []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        small = values.dtype != np.float32 or values.ndim != 2 or values.size < _LEAST_WEIGHTS
        if small or (looked_up_only and weight.name not in looked_up):
            weights.append(weight)
            continue
        axis = 0 if weight.name in looked_up else 1  # a scale for each word of an embedding, for each output of a layer
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
    """Keep ONNX Runtime's advice to pre-process, which the fusions have done, off the terminal: it comes with each trial."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
