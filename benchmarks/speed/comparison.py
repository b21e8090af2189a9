"""Quality and latency of all systems on the same queries in one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

from benchmarks.machine import describe
from benchmarks.speed.cost import assumptions, cost
from benchmarks.speed.interleaved_timing import time_interleaved
from benchmarks.speed.settings import Settings
from benchmarks.speed.statistics import Estimate, percentile, ratio, rounded
from benchmarks.speed.systems.bundle import BundleSystem
from benchmarks.speed.systems.registry import Selection, Systems
from benchmarks.speed.systems.system import System
from benchmarks.speed.workload import first_queries, measure_quality, timed_queries, unseen_judgments
from reranker.errors import InputError
from reranker.evaluation.bootstrap import Interval
from reranker.first_stage import FirstStage


@dataclass(frozen=True)
class Times:
    """Latency of one system at one number of hits: milliseconds, and CPU milliseconds of all threads (median)."""

    p50: Estimate
    p95: Estimate
    cpu_p50: Estimate


@dataclass(frozen=True)
class SystemResult:
    """One system's result. ``quality``: nDCG@10; None where ``no_quality`` gives the reason."""

    name: str
    label: str
    quality: Interval | None
    no_quality: str | None
    note: str
    ours: bool
    times: dict[int, Times]


@dataclass(frozen=True)
class Report:
    """The result of a comparison.

    ``ratios``: by hits, (of, to) → latency of the first divided by that of the second; ``orders``: the order of the systems in each turn.
    """

    results: list[SystemResult]
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
        """Return the content of ``benchmark.json``: milliseconds, with 95 % bootstrap intervals over queries."""
        return {
            "quick": self.settings.quick,
            "machine": self.machine,
            "first_stage": self.first_stage,
            "cross_encoder": self.cross_encoder,
            "rounds": self.settings.rounds,
            "queries": self.queries,
            "quality_queries": self.quality_queries,
            "systems": {
                result.name: {
                    "label": result.label,
                    "note": result.note,
                    "ndcg@10": None
                    if result.quality is None
                    else {"mean": rounded(result.quality.mean), "interval": [rounded(result.quality.low), rounded(result.quality.high)]},
                    "no_quality": result.no_quality,
                    "hits": {
                        str(k): {
                            "p50_ms": times.p50.as_dict(),
                            "p95_ms": times.p95.as_dict(),
                            "cpu_p50_ms": times.cpu_p50.as_dict(),
                            "cost": cost(times.cpu_p50.value, self.core_hour_price),
                        }
                        for k, times in result.times.items()
                    },
                }
                for result in self.results
            },
            "left_out": self.left_out,
            "ratios": {str(k): {f"{of} / {to}": value.as_dict() for (of, to), value in ratios.items()} for k, ratios in self.ratios.items()},
            "cost_assumes": assumptions(self.core_hour_price),
            "order_of_turns": self.orders,
        }


def compare(
    first_stage: FirstStage,
    selection: Selection,
    loaded: Systems,
    settings: Settings,
    *,
    threads: int,
    core_hour_price: float,
    say: Callable[[str], None] = lambda _: None,
    on_turn: Callable[[str], None] = lambda _: None,
) -> Report:
    """Measure the quality of every system, then time them in interleaved rounds.

    Args:
        say, on_turn: progress callbacks.

    Raises:
        InputError: no system is available, the bundles were trained on all judged queries, or too few queries find enough products.
        FirstStageError: the first stage cannot answer.
    """
    systems = loaded.systems
    if not systems:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in loaded.left_out.items() if not reason.startswith("not selected"))
        raise InputError(f"No system is available. {reasons}", hint="Install what is missing, or select others with --only.")
    say("Measuring quality")
    unseen = unseen_judgments(first_stage, list(selection.bundles.values()))
    if settings.quality_queries is not None:
        unseen = first_queries(unseen, settings.quality_queries)
    quality = measure_quality(unseen, systems)
    say("Finding hits")
    queries = timed_queries(first_stage, settings.queries, max(settings.ks))
    say("Warming up")
    took, cpu, orders = time_interleaved(systems, queries, settings.ks, settings.rounds, on_turn=on_turn)
    return Report(
        results=[_result(system, took[i], cpu[i], settings, quality) for i, system in enumerate(systems)],
        left_out=loaded.left_out,
        ratios={k: _ratios(systems, took[:, at]) for at, k in enumerate(settings.ks)},
        orders=orders,
        settings=settings,
        quality_queries=0 if quality is None else quality.queries,
        queries=[query.query for query in queries],
        machine=describe(threads),
        first_stage=first_stage.name,
        core_hour_price=core_hour_price,
        cross_encoder=None if selection.cross_encoder is None else selection.cross_encoder.name,
    )


def _result(system: System, took: np.ndarray, cpu: np.ndarray, settings: Settings, quality: Any) -> SystemResult:
    measured = quality.interval(system.name) if system.no_quality is None else None
    times = {k: Times(percentile(took[at], 50), percentile(took[at], 95), percentile(cpu[at], 50)) for at, k in enumerate(settings.ks)}
    return SystemResult(system.name, system.label, measured, system.no_quality, system.note, isinstance(system, BundleSystem), times)


def _ratios(systems: list[System], took: np.ndarray) -> dict[tuple[str, str], Estimate]:
    """Return the latency ratios of every system to each bundle; of all pairs where no bundle was measured."""
    ours = [i for i, system in enumerate(systems) if isinstance(system, BundleSystem)] or list(range(len(systems)))
    pairs = [(of, to) for of, to in permutations(range(len(systems)), 2) if to in ours]
    return {(systems[of].name, systems[to].name): ratio(took[of], took[to]) for of, to in pairs}
