"""Export: the trained student as ONNX, its graph optimised, its weights int8."""

from __future__ import annotations

import shutil
from pathlib import Path

FP32, INT8 = "model_fp32.onnx", "model_int8.onnx"


def export_student(student: Path, folder: Path, *, int8: bool) -> dict[str, Path]:
    """Export a trained student and return the ONNX files by precision: ``fp32`` and, where asked for, ``int8``.

    fp32: optimum's export and transformer-specific graph fusions (its level O2). int8: ONNX Runtime's dynamic
    quantisation of the fused graph, per channel, weights in seven bits (``reduce_range``): CPUs without VNNI add 8-bit
    products in 16 bits, which saturate otherwise.
    """
    from optimum.onnxruntime import ORTModelForSequenceClassification, ORTOptimizer
    from optimum.onnxruntime.configuration import OptimizationConfig

    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    exported = ORTModelForSequenceClassification.from_pretrained(student, export=True)
    exported.save_pretrained(work / "export")
    optimizer = ORTOptimizer.from_pretrained(work / "export")
    optimizer.optimize(save_dir=work / "optimised", optimization_config=OptimizationConfig(optimization_level=2))
    made = {"fp32": next((work / "optimised").glob("*.onnx")).rename(folder / FP32)}
    if int8:
        made["int8"] = folder / INT8
        _quantise(made["fp32"], made["int8"])
    shutil.rmtree(work)
    return made


def _quantise(fp32: Path, int8: Path) -> None:
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
