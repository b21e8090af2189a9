"""``python -m benchmarks labelling``: how fast a teacher labels in float32 and bfloat16, and how far the two orders agree."""

from __future__ import annotations

import platform
import random
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer

from benchmarks.output import DEFAULT_OUT, Out, output_folder, require, write_result
from reranker.demo_data import demo_file
from reranker.errors import RerankerError
from reranker.judgments import load_judgments
from reranker.products import Product, read_catalog

PRECISIONS: tuple[Literal["float32", "bfloat16"], ...] = ("float32", "bfloat16")
SEED = 13


def demo_pairs(number: int) -> list[tuple[str, Product]]:
    """Return a seeded sample of the demo's judged (query, product) pairs."""
    products = {str(product["id"]): product for product in read_catalog(demo_file("products.jsonl.gz"))}
    pairs = [(j.query, products[j.product_id]) for j in load_judgments(demo_file("judgments.csv")) if j.product_id in products]
    return random.Random(SEED).sample(pairs, min(number, len(pairs)))


def measure(folder: Path, pairs: list[tuple[str, Product]], *, rounds: int) -> dict[str, Any]:
    """Label the pairs in both precisions in turn; return pairs a second (best round, and each round) and agreement with float32."""
    from scipy.stats import spearmanr

    from reranker_distill.teacher import load_teacher
    from reranker_distill.teacher.soft_targets import expected_relevance

    teachers: dict[str, Any] = {precision: load_teacher(folder, precision) for precision in PRECISIONS}
    seconds: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    relevance: dict[str, np.ndarray] = {}
    for teacher in teachers.values():
        teacher.distributions(pairs[:8])  # warm-up
    for turn in range(rounds):
        for precision in PRECISIONS[:: 1 if turn % 2 == 0 else -1]:
            began = time.perf_counter()
            relevance[precision] = expected_relevance(teachers[precision].distributions(pairs))
            seconds[precision].append(time.perf_counter() - began)
    return {
        precision: {
            "pairs_per_s": round(len(pairs) / min(taken), 2),
            "pairs_per_s_by_round": [round(len(pairs) / each, 2) for each in taken],
            "spearman_with_float32": round(float(spearmanr(relevance[precision], relevance["float32"]).statistic), 5),
            "mean_relevance_difference": round(float(np.abs(relevance[precision] - relevance["float32"]).mean()), 5),
        }
        for precision, taken in seconds.items()
    }


def labelling(
    teacher: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a fine-tuned teacher, such as runs/demo/1-teacher.")],
    pairs: Annotated[int, typer.Option("--pairs", min=8, help="How many judged pairs of the demo are labelled.")] = 300,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="How often each precision labels them.")] = 2,
    threads: Annotated[int | None, typer.Option("--threads", help="Torch threads. Default: all cores.")] = None,
    out: Out = DEFAULT_OUT,
) -> None:
    """Compare the labelling speed of float32 and bfloat16. Writes labelling.json.

    Needs a processor or GPU with bfloat16 arithmetic.
    """
    require("torch", "transformers", "peft")
    import torch
    from rich.console import Console
    from rich.table import Table

    from reranker_distill.precision import has_bfloat16
    from reranker_distill.teacher.shared_prefixes import tokens_per_batch

    if not has_bfloat16():
        raise RerankerError("This machine has no bfloat16 arithmetic.", hint="Run it on a GPU, or on a CPU with AVX-512.")
    folder = output_folder(out)
    if threads:
        torch.set_num_threads(threads)
    sample = demo_pairs(pairs)
    result: dict[str, Any] = {
        "teacher": teacher.name,
        "pairs": len(sample),
        "rounds": rounds,
        "tokens_per_batch": tokens_per_batch(),
        "threads": torch.get_num_threads(),
        "machine": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "precisions": measure(teacher, sample, rounds=rounds),
    }
    write_result(folder / "labelling.json", result)
    table = Table("precision", "pairs/s", "Spearman with float32", "mean difference")
    for precision, row in result["precisions"].items():
        table.add_row(precision, f"{row['pairs_per_s']:,}", f"{row['spearman_with_float32']:.5f}", f"{row['mean_relevance_difference']:.5f}")
    Console().print(table)
    print(f"Written: {folder / 'labelling.json'}")
