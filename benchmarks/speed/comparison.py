"""The comparison: every contender's quality and times on the same queries in one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

from benchmarks.speed.contenders.contender import Contender
from benchmarks.speed.contenders.line_up import LineUp, Wanted
from benchmarks.speed.contenders.own_bundle import OwnBundle
from benchmarks.speed.cost import assumptions, cost
from benchmarks.speed.machine import describe
from benchmarks.speed.rounds import measure_rounds
from benchmarks.speed.settings import Settings
from benchmarks.speed.statistics import Estimate, percentile, ratio, rounded
from benchmarks.speed.workload import first_queries, measure_quality, timed_queries, unseen_judgments
from reranker.errors import InputError
from reranker.evaluation.bootstrap import Interval
from reranker.first_stage import FirstStage


@dataclass(frozen=True)
class Times:
    """One contender with one number of hits: milliseconds, and CPU-milliseconds of all threads (median)."""

    p50: Estimate
    p95: Estimate
    cpu_p50: Estimate


@dataclass(frozen=True)
class Standing:
    """One contender in the comparison. ``quality``: nDCG@10; None where ``no_quality`` says why."""

    name: str
    label: str
    quality: Interval | None
    no_quality: str | None
    note: str
    ours: bool
    times: dict[int, Times]


@dataclass(frozen=True)
class Report:
    """What a comparison found.

    ``ratios``: by hits, (of, to) → how many times longer the first takes; ``orders``: who came after whom, by turn.
    """

    standings: list[Standing]
    left_out: dict[str, str]
    ratios: dict[int, dict[tuple[str, str], Estimate]]
    orders: list[list[str]]
    settings: Settings
    quality_queries: int
    queries: list[str]
    machine: dict[str, Any]
    first_stage: str
    core_hour_price: float
    cross_encoder: str | None

    def as_dict(self) -> dict[str, Any]:
        """Return what ``benchmark.json`` holds: times in milliseconds, figures with 95 % bootstrap intervals over queries."""
        return {
            "quick": self.settings.quick,
            "machine": self.machine,
            "first_stage": self.first_stage,
            "cross_encoder": self.cross_encoder,
            "rounds": self.settings.rounds,
            "queries": self.queries,
            "quality_queries": self.quality_queries,
            "contenders": {
                standing.name: {
                    "label": standing.label,
                    "note": standing.note,
                    "ndcg@10": None
                    if standing.quality is None
                    else {"mean": rounded(standing.quality.mean), "interval": [rounded(standing.quality.low), rounded(standing.quality.high)]},
                    "no_quality": standing.no_quality,
                    "hits": {
                        str(k): {
                            "p50_ms": times.p50.as_dict(),
                            "p95_ms": times.p95.as_dict(),
                            "cpu_p50_ms": times.cpu_p50.as_dict(),
                            "cost": cost(times.cpu_p50.value, self.core_hour_price),
                        }
                        for k, times in standing.times.items()
                    },
                }
                for standing in self.standings
            },
            "left_out": self.left_out,
            "ratios": {str(k): {f"{of} / {to}": value.as_dict() for (of, to), value in ratios.items()} for k, ratios in self.ratios.items()},
            "cost_assumes": assumptions(self.core_hour_price),
            "order_of_turns": self.orders,
        }


def compare(
    first_stage: FirstStage,
    wanted: Wanted,
    lined_up: LineUp,
    settings: Settings,
    *,
    threads: int,
    core_hour_price: float,
    say: Callable[[str], None] = lambda _: None,
    on_turn: Callable[[str], None] = lambda _: None,
) -> Report:
    """Measure the quality of every contender, then time them by turns.

    Args:
        say, on_turn: told what is being done, for progress.

    Raises:
        InputError: no contender can take part, the bundles were trained on all judged queries, or too few queries find enough products.
        FirstStageError: the first stage cannot answer.
    """
    contenders = lined_up.contenders
    if not contenders:
        told = "; ".join(f"{name}: {why}" for name, why in lined_up.left_out.items() if not why.startswith("not asked for"))
        raise InputError(f"No contender can take part. {told}", hint="Install what is missing, or ask for others with --only.")
    say("Measuring quality")
    unseen = unseen_judgments(first_stage, list(wanted.bundles.values()))
    if settings.quality_queries is not None:
        unseen = first_queries(unseen, settings.quality_queries)
    quality = measure_quality(unseen, contenders)
    say("Finding hits")
    queries = timed_queries(first_stage, settings.queries, max(settings.ks))
    say("Warming up")
    took, cpu, orders = measure_rounds(contenders, queries, settings.ks, settings.rounds, on_turn=on_turn)
    return Report(
        standings=[_standing(contender, took[i], cpu[i], settings, quality) for i, contender in enumerate(contenders)],
        left_out=lined_up.left_out,
        ratios={k: _ratios(contenders, took[:, at]) for at, k in enumerate(settings.ks)},
        orders=orders,
        settings=settings,
        quality_queries=0 if quality is None else quality.queries,
        queries=[query.query for query in queries],
        machine=describe(threads),
        first_stage=first_stage.name,
        core_hour_price=core_hour_price,
        cross_encoder=None if wanted.cross_encoder is None else wanted.cross_encoder.name,
    )


def _standing(contender: Contender, took: np.ndarray, cpu: np.ndarray, settings: Settings, quality: Any) -> Standing:
    measured = quality.interval(contender.name) if contender.no_quality is None else None
    times = {k: Times(percentile(took[at], 50), percentile(took[at], 95), percentile(cpu[at], 50)) for at, k in enumerate(settings.ks)}
    return Standing(contender.name, contender.label, measured, contender.no_quality, contender.note, isinstance(contender, OwnBundle), times)


def _ratios(contenders: list[Contender], took: np.ndarray) -> dict[tuple[str, str], Estimate]:
    """Compare every contender with each of our bundles; with each other where none of ours takes part."""
    ours = [i for i, contender in enumerate(contenders) if isinstance(contender, OwnBundle)] or list(range(len(contenders)))
    pairs = [(of, to) for of, to in permutations(range(len(contenders)), 2) if to in ours]
    return {(contenders[of].name, contenders[to].name): ratio(took[of], took[to]) for of, to in pairs}
