"""What a run may take from runs before it, its own earlier self among them.

That is what no judgment has a part in, and a teacher that learnt from the same judgments, with its labels.

Fingerprints hold what a stage read and the release, not the code: reuse runs of the code that you run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from distill.checkpoints import files_of
from distill.finished_run import LABELS, LIKELIHOOD, PAIRS
from distill.labelling import Known
from distill.pairs import distributions_in
from distill.recipe import Recipe
from distill.stages import fingerprint_in, fingerprint_of, full_disk_told, stage_in
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
    asked = recipe.labelling.model_dump(exclude_none=True, exclude={"tokens_per_batch"})  # fewer of them, where memory ran out, change no label
    return {"teacher": teacher, "pairs": pairs, "labelling": asked}


def known_labels(runs: Sequence[Path], recipe: Recipe, teacher: str) -> Known:
    """Return the labels that the same teacher, of this fingerprint, has given in other runs, finished or not."""
    return _known(runs, LABELS, lambda pairs: label_reads(recipe, teacher, pairs))


def likelihood_reads(recipe: Recipe, catalogue: Mapping[str, Any], pairs: str) -> dict[str, Any]:
    """Return what the likelihoods of pairs depend on: ``catalogue``, what tells the products, and ``pairs``, the fingerprint of their stage."""
    asked = recipe.likelihood.model_dump(exclude={"weight", "licence"})
    return {"likelihood": asked, **files_of(recipe.likelihood.model), **catalogue, "pairs": pairs, "labelling": recipe.labelling.shard_size}


def known_likelihoods(runs: Sequence[Path], recipe: Recipe, catalogue: Mapping[str, Any]) -> Known:
    """Return the likelihoods that the recipe's language model has given in other runs, finished or not, about these products."""
    return _known(runs, LIKELIHOOD, lambda pairs: likelihood_reads(recipe, catalogue, pairs))


def _known(runs: Sequence[Path], labelling: str, reads: Callable[[str], Mapping[str, Any]]) -> Known:
    """Return what the stage ``labelling`` found in those runs where it read the same, their own pairs aside; ``reads`` is that, given a run's pairs."""
    known: dict[tuple[str, str], tuple[float, ...]] = {}
    for run in runs:
        pairs = stage_in(run / PAIRS)
        if pairs and fingerprint_in(run / labelling) == fingerprint_of(reads(pairs.fingerprint)):
            known |= distributions_in(run / labelling)
    return known
