"""The cross-encoder checkpoint that every library runs: the user's trained one, or all-MiniLM-L6-v2 with an untrained head."""

from __future__ import annotations

import importlib.util
import json
import logging
import shutil
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.speed.systems.system import Unavailable
from reranker.errors import InputError
from reranker.evaluation.embedder import HUB_NAME, packaged_checkpoint

UNTRAINED = "untrained head: latency only. Give a trained one with --cross-encoder FOLDER"
_SEED = 13
_ONNX = Path("onnx", "model.onnx")


class Checkpoint(NamedTuple):
    """A cross-encoder on disk.

    ``folder``: weights, tokenizer (limited to ``max_length``) and ``onnx/model.onnx`` · ``max_length``: tokens of a pair ·
    ``threads``: of one run · ``source``: origin of the weights · ``no_quality``: why quality is not measured, None for trained weights ·
    ``no_onnx``: why there is no ONNX model, None where there is.
    """

    folder: Path
    max_length: int
    threads: int
    source: str
    no_quality: str | None
    no_onnx: str | None

    @property
    def onnx(self) -> Path:
        """The ONNX model's file.

        Raises:
            Unavailable: the weights could not be exported.
        """
        if self.no_onnx is not None:
            raise Unavailable(self.no_onnx)
        return self.folder / _ONNX


def check_folder(folder: Path) -> Path:
    """Return the folder of a cross-encoder.

    Raises:
        InputError: it contains none.
    """
    if not folder.is_dir():
        raise InputError(f"There is no cross-encoder at {folder}.", hint="Give a folder that sentence-transformers' CrossEncoder.save_pretrained wrote.")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} contains no model: config.json cannot be read.", hint="Give a folder that CrossEncoder.save_pretrained wrote.") from error
    heads = [name for name in config.get("architectures") or [] if "SequenceClassification" in name]
    if not heads:
        raise InputError(
            f"The model in {folder} is not a cross-encoder: its architecture is {', '.join(config.get('architectures') or ['not named'])}.",
            hint="Give a model with a scoring head (…ForSequenceClassification); pass a bundle with --bundle.",
        )
    return folder


def prepare_checkpoint(given: Path | None, scratch: Path, *, max_length: int, threads: int) -> Checkpoint:
    """Write the cross-encoder into ``scratch`` in a form that all libraries read, and export it to ONNX.

    Args:
        given: a trained cross-encoder's folder; None takes all-MiniLM-L6-v2 with a seeded, untrained head of one score.

    Raises:
        InputError: ``given`` cannot be loaded, or has more than one score.
        Unavailable: sentence-transformers or the checkpoint is missing.
    """
    if importlib.util.find_spec("sentence_transformers") is None:
        raise Unavailable('sentence-transformers is not installed: pip install "distilled-reranker[benchmark]"')
    import torch
    from sentence_transformers import CrossEncoder
    from transformers.utils.logging import set_verbosity_error

    set_verbosity_error()  # silences the warning about the untrained head
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)  # silences the advice to keep the export
    source = str(given or packaged_checkpoint() or HUB_NAME)
    torch.manual_seed(_SEED)
    try:
        model = CrossEncoder(source, device="cpu", max_length=max_length, **({"num_labels": 1} if given is None else {}))
    except Exception as error:  # hub, network and file errors: each library has its own types
        if given is not None:
            raise InputError(f"The cross-encoder {given} cannot be loaded: {error}", hint="Give a folder that CrossEncoder.save_pretrained wrote.") from error
        raise Unavailable(f'{source} cannot be loaded ({type(error).__name__}): pip install "distilled-reranker[checkpoints]"') from error
    if model.num_labels != 1:
        raise InputError(f"The cross-encoder {given} has {model.num_labels} scores for each pair.", hint="Give one with a single score (num_labels=1).")
    folder = scratch / "cross-encoder"
    model.save_pretrained(str(folder))
    edit_json(folder / "tokenizer_config.json", model_max_length=max_length)
    return Checkpoint(folder, max_length, threads, source if given else "all-MiniLM-L6-v2", None if given else UNTRAINED, _export(folder))


def _export(folder: Path) -> str | None:
    """Export to ONNX as sentence-transformers does for its ONNX backend; return the reason if that fails, otherwise None."""
    if importlib.util.find_spec("optimum") is None:
        return 'optimum is not installed: pip install "distilled-reranker[benchmark]"'
    from sentence_transformers import CrossEncoder

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing warns about constants; they are intended
            exported = CrossEncoder(str(folder), backend="onnx", device="cpu", model_kwargs={"provider": "CPUExecutionProvider", "export": True})
        exported.save_pretrained(str(folder / "exported"))
        (found,) = (folder / "exported").rglob("*.onnx")
        (folder / _ONNX).parent.mkdir(exist_ok=True)
        shutil.move(found, folder / _ONNX)
        shutil.rmtree(folder / "exported")
    except Exception as error:  # optimum, torch and onnx have their own error types
        return f'it cannot be exported to ONNX ({type(error).__name__}: {error}): pip install "distilled-reranker[benchmark]"'
    return None


def edit_json(path: Path, **changes: Any) -> None:
    """Change values of a JSON object in a file."""
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")
