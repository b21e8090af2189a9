"""Export: the trained student as ONNX, its graph optimised, its weights int8."""

from __future__ import annotations

import shutil
from pathlib import Path

PRECISIONS = ("int8", "int8_weights", "fp32")
"""From the fastest to the most faithful: integer arithmetic, float arithmetic with weights stored in int8, floats throughout."""

_LEAST_WEIGHTS = 4_096  # a smaller matrix is not worth storing in int8


def export_student(student: Path, folder: Path, *, int8: bool) -> dict[str, Path]:
    """Export a trained student and return the ONNX files by precision, a key of ``PRECISIONS``; only ``fp32`` without ``int8``.

    fp32: optimum's export and transformer-specific graph fusions (its level O2). int8: ONNX Runtime's dynamic
    quantisation of the fused graph, per channel, weights in seven bits (``reduce_range``): CPUs without VNNI add 8-bit
    products in 16 bits, which saturate otherwise. int8_weights: as small as int8, as slow as fp32, and nearly its scores.
    """
    from optimum.onnxruntime import ORTModelForSequenceClassification, ORTOptimizer
    from optimum.onnxruntime.configuration import OptimizationConfig

    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    exported = ORTModelForSequenceClassification.from_pretrained(student, export=True)
    exported.save_pretrained(work / "export")
    optimizer = ORTOptimizer.from_pretrained(work / "export")
    optimizer.optimize(save_dir=work / "optimised", optimization_config=OptimizationConfig(optimization_level=2))
    made = {"fp32": next((work / "optimised").glob("*.onnx")).rename(model_file(folder, "fp32"))}
    if int8:
        made["int8"] = _quantise(made["fp32"], model_file(folder, "int8"))
        made["int8_weights"] = _store_weights_in_int8(made["fp32"], model_file(folder, "int8_weights"))
    shutil.rmtree(work)
    return made


def model_file(folder: Path, precision: str) -> Path:
    """Return where an export's model of a precision is."""
    return folder / f"model_{precision}.onnx"


def _quantise(fp32: Path, int8: Path) -> Path:
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # Not through optimum: it cannot say which type the fused operators give (DefaultTensorType), which shape inference
    # does not know, since they are ONNX Runtime's own.
    quantize_dynamic(
        fp32,
        int8,
        op_types_to_quantize=["MatMul", "Attention", "Gather", "EmbedLayerNormalization"],
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
        extra_options={"DefaultTensorType": TensorProto.FLOAT, "MatMulConstBOnly": True, "WeightSymmetric": True},
    )
    return int8


def _store_weights_in_int8(fp32: Path, target: Path) -> Path:
    """Replace each large matrix by its int8 form and a DequantizeLinear node, which ONNX Runtime computes once, at loading."""
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(fp32)
    looked_up = {node.input[0] for node in model.graph.node if node.op_type == "Gather"}
    nodes, weights = [], []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.ndim != 2 or values.size < _LEAST_WEIGHTS:
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
