"""The precision of labelling, measured: pairs per second of a teacher in float32, bfloat16 and int8, and how far their order agrees.

    python tests/benchmarks/labelling.py runs/demo/1-teacher --pairs 400 [--rounds 3] [--threads 2] [--out labelling.json]

All precisions label the same pairs of the demo catalogue, in turns, so that what else the machine does touches all alike.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import time
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from reranker.demo_data import demo_file
from reranker.errors import RecipeError
from reranker.judgments import load_judgments
from reranker.products import Product, read_catalog
from reranker_distill.precision import has_bfloat16
from reranker_distill.recipe import Labelling, Precision
from reranker_distill.teacher import load_teacher


def demo_pairs(number: int, seed: int) -> list[tuple[str, Product]]:
    """Return judged (query, product) pairs of the demo catalogue, a seeded sample."""
    products = {str(product["id"]): product for product in read_catalog(demo_file("products.jsonl.gz"))}
    pairs = [(j.query, products[j.product_id]) for j in load_judgments(demo_file("judgments.csv")) if j.product_id in products]
    return random.Random(seed).sample(pairs, min(number, len(pairs)))


def relevance(distributions: np.ndarray) -> np.ndarray:
    """Return the expected grade of each row, scaled to 0–1: (n,)."""
    expected: np.ndarray = distributions.astype(np.float64) @ np.arange(distributions.shape[1]) / (distributions.shape[1] - 1)
    return expected


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Return the rank correlation of two score lists."""
    ranks = [np.argsort(np.argsort(scores, kind="stable"), kind="stable") for scores in (a, b)]
    return float(np.asarray(np.corrcoef(ranks))[0, 1])


def measure(folder: Path, pairs: list[tuple[str, Product]], *, rounds: int, tokens_per_batch: int) -> dict[str, Any]:
    """Label the pairs in every precision this machine has; return pairs/s (best and all rounds) and agreement with float32."""
    labellers: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    for precision in get_args(Precision):
        try:
            labellers[precision] = load_teacher(folder, precision)
        except RecipeError as error:
            left_out[precision] = error.message
    seconds: dict[str, list[float]] = {precision: [] for precision in labellers}
    labels: dict[str, np.ndarray] = {}
    for labeller in labellers.values():
        labeller.distributions(pairs[:8], tokens_per_batch=tokens_per_batch)  # the first batch pays for what later ones find ready
    for turn in range(rounds):
        for precision in list(labellers)[:: 1 if turn % 2 == 0 else -1]:
            began = time.perf_counter()
            labels[precision] = labellers[precision].distributions(pairs, tokens_per_batch=tokens_per_batch)
            seconds[precision].append(time.perf_counter() - began)
    truth = relevance(labels["float32"])
    return {
        "precisions": {
            precision: {
                "pairs_per_s": round(len(pairs) / min(taken), 2),
                "pairs_per_s_by_round": [round(len(pairs) / each, 2) for each in taken],
                "spearman_with_float32": round(spearman(relevance(labels[precision]), truth), 5),
                "mean_relevance_difference": round(float(np.abs(relevance(labels[precision]) - truth).mean()), 5),
            }
            for precision, taken in seconds.items()
        },
        "left_out": left_out,
    }


def main() -> None:
    defaults = Labelling()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("teacher", type=Path, help="the folder of a fine-tuned teacher, such as runs/demo/1-teacher")
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of torch, all cores where not given")
    parser.add_argument("--tokens-per-batch", type=int, default=defaults.tokens_per_batch)
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--out", type=Path, default=Path("labelling.json"), help="write the figures here as JSON")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    pairs = demo_pairs(given.pairs, given.seed)
    figures = {
        "teacher": given.teacher.name,
        "pairs": len(pairs),
        "rounds": given.rounds,
        "tokens_per_batch": given.tokens_per_batch,
        "threads": torch.get_num_threads(),
        "machine": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine(),
        "bfloat16_in_hardware": has_bfloat16(),
        "torch": torch.__version__,
        **measure(given.teacher, pairs, rounds=given.rounds, tokens_per_batch=given.tokens_per_batch),
    }
    given.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    table = Table("precision", "pairs/s", "Spearman with float32", "mean difference")
    for precision, row in figures["precisions"].items():
        table.add_row(precision, f"{row['pairs_per_s']:,}", f"{row['spearman_with_float32']:.5f}", f"{row['mean_relevance_difference']:.5f}")
    console = Console()
    console.print(table)
    console.print(f"{len(pairs):,} pairs, {given.rounds} rounds, {figures['threads']} threads on {figures['machine']}")
    for precision, why in figures["left_out"].items():
        console.print(f"{precision}: {why}")


if __name__ == "__main__":
    main()
