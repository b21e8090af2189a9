"""Export: the trained student as ONNX, its graph optimised, its weights int8."""

from __future__ import annotations

import shutil
from pathlib import Path

FP32, INT8 = "model_fp32.onnx", "model_int8.onnx"


def export_student(student: Path, folder: Path, *, int8: bool) -> dict[str, Path]:
    """Export a trained student with optimum and return the ONNX files by precision: ``fp32`` and, where asked for, ``int8``.

    fp32: transformer-specific graph fusions (optimum's O2). int8: dynamic, per channel, weights in seven bits
    (``reduce_range``): CPUs without VNNI add 8-bit products in 16 bits, which saturate otherwise.
    """
    from onnxruntime.quantization import QuantFormat, QuantizationMode, QuantType
    from optimum.onnxruntime import ORTModelForSequenceClassification, ORTOptimizer, ORTQuantizer
    from optimum.onnxruntime.configuration import OptimizationConfig, QuantizationConfig

    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    exported = ORTModelForSequenceClassification.from_pretrained(student, export=True)
    exported.save_pretrained(work / "export")
    optimizer = ORTOptimizer.from_pretrained(work / "export")
    optimizer.optimize(save_dir=work / "fp32", optimization_config=OptimizationConfig(optimization_level=2))
    made = {"fp32": _only_onnx(work / "fp32")}
    if int8:
        quantizer = ORTQuantizer.from_pretrained(work / "fp32", file_name=made["fp32"].name)
        configuration = QuantizationConfig(
            is_static=False,
            format=QuantFormat.QOperator,
            mode=QuantizationMode.IntegerOps,
            activations_dtype=QuantType.QUInt8,
            weights_dtype=QuantType.QInt8,
            weights_symmetric=True,
            per_channel=True,
            reduce_range=True,
            operators_to_quantize=["MatMul", "Attention", "Gather", "EmbedLayerNormalization"],
        )
        quantizer.quantize(save_dir=work / "int8", quantization_config=configuration)
        made["int8"] = _only_onnx(work / "int8")
    out = {precision: folder / (FP32 if precision == "fp32" else INT8) for precision in made}
    for precision, source in made.items():
        source.replace(out[precision])
    shutil.rmtree(work)
    return out


def _only_onnx(folder: Path) -> Path:
    return next(iter(sorted(folder.glob("*.onnx"))))
