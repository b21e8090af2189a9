"""An experiment's result: one row for each setting, with intervals over the queries' intents, and each seed's mean."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.experiments.trials import Trial, by_query
from benchmarks.finished_run import FinishedRun, pooled
from reranker.evaluation import Comparison
from reranker.evaluation.bootstrap import Interval, bootstrap

LINES = {"bm25": "BM25", "minilm_cosine": "all-MiniLM-L6-v2 cosine", "teacher": "teacher", "label_fusion": "fused labels"}
"""Rankings of the runs' gates that trials are compared with, and their names in pictures."""


class Row(NamedTuple):
    """One setting: mean over queries and seeds with the interval over intents, each seed's mean, and paired differences.

    ``agreement`` is the mean over the trials that measured it; None where none did.
    """

    setting: str
    pairs: int
    ndcg: Interval
    seeds: list[float]
    difference: dict[str, Interval]
    agreement: float | None = None


def rows(trials: Sequence[Trial], runs: list[FinishedRun], settings: Sequence[str], *, against: Sequence[str] = (), base: str | None = None) -> list[Row]:
    """Return one row for each setting.

    Args:
        against: rankings of the runs' gates that each setting is compared with, paired by query.
        base: a setting that the others are compared with, paired by query.
    """
    gate = {(run.name, row.query): row for run in runs for row in run.measured}

    def over_intents(values: Mapping[tuple[str, str], float]) -> Interval:
        return bootstrap(list(values.values()), [gate[key].intent for key in values])

    of_base = by_query([t for t in trials if t.setting == base])
    made = []
    for setting in settings:
        own = [trial for trial in trials if trial.setting == setting]
        values = by_query(own)
        seeds = sorted({trial.seed for trial in own})
        difference = {name: over_intents({key: value - gate[key].ndcg[name] for key, value in values.items()}) for name in against}
        if base is not None and setting != base:
            difference[base] = over_intents({key: value - of_base[key] for key, value in values.items()})
        followed = [trial.agreement for trial in own if trial.agreement is not None]
        made.append(
            Row(
                setting,
                round(float(np.mean([trial.pairs for trial in own]))),
                over_intents(values),
                [float(np.mean(list(by_query([t for t in own if t.seed == seed]).values()))) for seed in seeds],
                difference,
                float(np.mean(followed)) if followed else None,
            )
        )
    return made


def row_by_fold(measured: Comparison, name: str, runs: list[FinishedRun], queries: Sequence[int], against: Sequence[str]) -> Row:
    """Return the row of a ranking that needed no trial; its ``seeds`` are the means over each run's held-out queries.

    Args:
        measured: all runs' held-out queries, in the order of the runs.
        queries: how many belong to each run.
        against: the rankings to compare with, paired by query.
    """
    scores = [row.ndcg[name] for row in measured.per_query]
    starts = np.cumsum([0, *queries])
    by_fold = [float(np.mean(scores[start:end])) for start, end in pairwise(starts)]
    pairs = round(sum(len(run.labelled) for run in runs) / len(runs))
    return Row(name, pairs, measured.interval(name), by_fold, {other: measured.difference(name, other) for other in against})


def lines(runs: list[FinishedRun]) -> dict[str, Interval]:
    """Return what the runs' gates measured of the rankings in ``LINES``."""
    measured = pooled(runs)
    return {name: measured.interval(name) for name in LINES if name in measured.rankings}


def write(path: Path, *, question: str, runs: list[FinishedRun], of: Sequence[Row], **more: Any) -> dict[str, Any]:
    """Write the result as JSON, and return it."""
    result = {
        "question": question,
        "runs": [run.name for run in runs],
        "queries": pooled(runs).queries,
        "intents": pooled(runs).intents,
        **more,
        "reference": {name: _rounded(interval) for name, interval in lines(runs).items()},
        "settings": [
            {
                "setting": row.setting,
                "pairs": row.pairs,
                "ndcg@10": _rounded(row.ndcg),
                "seeds": [round(value, 4) for value in row.seeds],
                "difference": {name: _rounded(interval) for name, interval in row.difference.items()},
                **({} if row.agreement is None else {"agreement_on_left_out_queries": round(row.agreement, 4)}),
            }
            for row in of
        ],
    }
    path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return result


def _rounded(interval: Interval) -> dict[str, float]:
    return {name: round(value, 4) for name, value in interval._asdict().items()}
