"""A finished run's students as they would serve."""

from __future__ import annotations

from typing import NamedTuple

from reranker.bundle import load_bundle
from reranker.errors import RerankerError
from reranker.neighbourhoods import DEFAULT, Neighbourhoods
from reranker.reranker import Reranker
from reranker.scorers import BI_ENCODER, CROSS_ENCODER
from reranker_distill.finished_run import FinishedRun
from reranker_distill.gate.neighbours import CATALOGUE_VECTORS
from reranker_distill.recipe import MAIN_STUDENT

_CALLED = {BI_ENCODER: "bi-encoder", CROSS_ENCODER: "cross-encoder"}


class Served(NamedTuple):
    """A student of a run's variants, loaded, and its name there."""

    name: str
    student: Reranker


def student_served(run: FinishedRun, architecture: str) -> Served:
    """Return a run's student of that architecture: the one that the run ships, or else the first of its variants.

    Raises:
        RerankerError: the run has none.
    """
    for name in dict.fromkeys([run.gate["chosen"], MAIN_STUDENT, *(variant.name for variant in run.recipe.variants)]):
        bundle = load_bundle(run.folder / "6-gate" / "bundles" / name)
        if bundle.manifest.student.get("architecture", CROSS_ENCODER) == architecture:
            return Served(name, Reranker(bundle))
    raise RerankerError(f"The run {run.folder} has no {_CALLED[architecture]}.", hint="Give a run with one in its variants, such as demo-variants's.")


def lean_on_neighbours(run: FinishedRun, student: Reranker, neighbourhoods: Neighbourhoods = DEFAULT) -> None:
    """Let the student's product vectors lean on their neighbours', as ``reranker vectors`` does; they are kept in the run's folder, ``vectors``."""
    student.store_vectors(run.folder / CATALOGUE_VECTORS, run.products.values(), neighbourhoods=neighbourhoods)
    student.use_vectors(run.folder / CATALOGUE_VECTORS)
