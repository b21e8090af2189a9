"""A trial: one student or teacher, trained with one setting and seed, and its nDCG@10 on a run's held-out queries."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.experiments.label_agreement import agreement
from benchmarks.finished_run import FinishedRun
from reranker.evaluation import evaluate_rankings
from reranker.products import Product
from reranker_distill.checkpoints import resolve_checkpoint
from reranker_distill.pairs import LabelledPair
from reranker_distill.recipe import Student


class Outcome(NamedTuple):
    """The outcome of a trial: how many pairs it learnt from, nDCG@10 by query, and ``label_agreement.agreement``, where measured."""

    pairs: int
    ndcg: dict[str, float]
    agreement: float | None = None


class Trial(NamedTuple):
    """A finished trial. ``setting`` names the value that the experiment varies."""

    run: str
    setting: str
    seed: int
    pairs: int
    ndcg: dict[str, float]
    agreement: float | None = None

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.ndcg.values())))


class Trials:
    """The trials of an experiment, appended to a file as they end, so that a stopped experiment resumes.

    ``reads`` is what trials depend on, such as settings and fingerprints; stored trials with other dependencies are ignored.
    """

    def __init__(self, path: Path, reads: dict[str, Any], say: Callable[[str], None]) -> None:
        self.path, self._say = path, say
        self._reads = json.dumps(reads, sort_keys=True, default=str)
        self.done: list[Trial] = []
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
            try:
                row = json.loads(line)
            except ValueError:  # incomplete: the experiment was killed while writing
                continue
            if row.pop("reads", None) == self._reads:
                self.done.append(Trial(**row))

    def make(self, run: FinishedRun, setting: str, seed: int, action: Callable[[], Outcome]) -> Trial:
        """Return the stored trial, or run ``action`` and store its outcome."""
        for trial in self.done:
            if (trial.run, trial.setting, trial.seed) == (run.name, setting, seed):
                return trial
        found = action()
        cut = self.path.is_file() and not self.path.read_bytes().endswith(b"\n")  # the last line of a killed experiment
        trial = Trial(run.name, setting, seed, *found)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(("\n" if cut else "") + json.dumps({**trial._asdict(), "reads": self._reads}, ensure_ascii=False) + "\n")
        self.done.append(trial)
        followed = "" if trial.agreement is None else f", agreement {trial.agreement:.3f}"
        self._say(f"{run.name}, {setting}, seed {seed}: nDCG@10 {trial.mean:.4f} on {len(trial.ndcg)} queries{followed}")
        return trial


def try_student(
    run: FinishedRun, labelled: Sequence[LabelledPair], settings: Student, *, left_out: Sequence[LabelledPair] = (), seed: int, work: Path
) -> Outcome:
    """Train a student on labelled pairs, and measure it in float32 on the run's held-out queries. ``work`` is a scratch folder.

    Args:
        left_out: pairs of queries not trained on, for the agreement with their labels.
    """
    from benchmarks.experiments.student_scores import load_scores
    from reranker_distill.student.training import train_student

    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    template = run.recipe.template
    report = train_student(
        labelled, run.products, checkpoint=resolve_checkpoint(settings.model, run.models), settings=settings, template=template, seed=seed, folder=work
    )
    student = load_scores(work)

    def score(query: str, products: list[Product]) -> Any:
        return student([(query, template.render(product)) for product in products])

    measured = evaluate_rankings(run.split.held_out, run.products, {"student": score})
    followed = agreement(student, left_out, run.products, template)
    shutil.rmtree(work)
    return Outcome(report["pairs"], {row.query: row.ndcg["student"] for row in measured.per_query}, followed)


def by_query(trials: Sequence[Trial]) -> dict[tuple[str, str], float]:
    """Return nDCG@10 by (run, query), the mean over seeds."""
    values: dict[tuple[str, str], list[float]] = {}
    for trial in trials:
        for query, ndcg in trial.ndcg.items():
            values.setdefault((trial.run, query), []).append(ndcg)
    return {key: float(np.mean(of_seeds)) for key, of_seeds in values.items()}
