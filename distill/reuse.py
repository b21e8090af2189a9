"""What a run may take from runs before it: what no judgment has a part in, and a teacher that learnt from the same judgments, with its labels.

Fingerprints hold what a stage read and the release, not the code: reuse runs of the code that you run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from distill.finished_run import LABELS, LIKELIHOOD, PAIRS, TEACHER, VECTORS
from distill.labelling import Known
from distill.pairs import distributions_in
from distill.recipe import Recipe
from distill.stages import Stage, fingerprint_of, full_disk_told, stage_in
from reranker.errors import RecipeError
from reranker.folders import copy_files, whole_folder


def check_reusable(runs: Sequence[Path]) -> None:
    """See that there are runs in these folders.

    Raises:
        RecipeError: one of them is not that of a run, or of one that has only just begun.
    """
    for run in runs:
        if stage_in(run / PAIRS) is None:
            raise RecipeError(
                f"There is nothing to reuse in {run}.", hint="Give the folder of a run that has chosen its pairs: reranker distill RECIPE --run DIR"
            )


def take_checkpoints(runs: Sequence[Path], folder: Path) -> None:
    """Copy unpacked checkpoints from the first run that has them, where ``folder`` has none.

    Raises:
        RerankerError: the disk is full.
    """
    source = next((run / "pretrained" for run in runs if (run / "pretrained").is_dir()), None)
    if source and not (folder / "pretrained").exists():
        with full_disk_told("copying checkpoints", folder), whole_folder(folder / "pretrained") as copy:
            copy_files(source, copy)


def label_reads(recipe: Recipe, teacher: str, pairs: str) -> dict[str, Any]:
    """Return what the teacher's labels depend on, ``teacher`` and ``pairs`` being the fingerprints of their stages."""
    return {"teacher": teacher, "pairs": pairs, "labelling": recipe.labelling.model_dump(exclude_none=True)}


def known_labels(runs: Sequence[Path], recipe: Recipe, teacher: str) -> Known:
    """Return the labels that the same teacher has given in other runs."""
    known: dict[tuple[str, str], tuple[float, ...]] = {}
    for run, pairs, labels in _labelled(runs, LABELS):
        its_teacher = stage_in(run / TEACHER)
        same = its_teacher and its_teacher.fingerprint == teacher
        if same and labels.fingerprint == fingerprint_of(label_reads(recipe, teacher, pairs.fingerprint)):
            known |= distributions_in(labels.folder)
    return known


def likelihood_reads(recipe: Recipe, pairs: str) -> dict[str, Any]:
    """Return what the likelihoods of pairs depend on, ``pairs`` being the fingerprint of their stage."""
    asked = recipe.likelihood.model_dump(exclude={"weight", "licence"})
    return {"likelihood": asked, "template": recipe.template.model_dump(), "pairs": pairs, "labelling": recipe.labelling.shard_size}


def known_likelihoods(runs: Sequence[Path], recipe: Recipe, vectors: str) -> Known:
    """Return the likelihoods that the recipe's language model has given in other runs about these products.

    Args:
        vectors: the fingerprint of this run's vectors: a run with the same has the same products, rendered the same.
    """
    known: dict[tuple[str, str], tuple[float, ...]] = {}
    for run, pairs, likelihood in _labelled(runs, LIKELIHOOD):
        its_vectors = stage_in(run / VECTORS)
        same = its_vectors and its_vectors.fingerprint == vectors
        if same and likelihood.fingerprint == fingerprint_of(likelihood_reads(recipe, pairs.fingerprint)):
            known |= distributions_in(likelihood.folder)
    return known


def _labelled(runs: Sequence[Path], name: str) -> Iterator[tuple[Path, Stage, Stage]]:
    """Yield each run that has finished the labelling ``name``, with the stage of its pairs and that of the labelling."""
    for run in runs:
        pairs, labels = stage_in(run / PAIRS), stage_in(run / name)
        if pairs and labels:
            yield run, pairs, labels
