"""What a run may take from runs before it, its own earlier self among them.

That is what no judgment has a part in, and a teacher that learnt from the same judgments, with its labels.

Fingerprints hold what a stage read and the release, not the code: reuse runs of the code that you run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from reranker.errors import RecipeError
from reranker.folders import copy_files, whole_folder
from reranker_distill.checkpoints import files_of
from reranker_distill.finished_run import PAIRS
from reranker_distill.labelling import Known
from reranker_distill.pairs import read_labelled
from reranker_distill.recipe import Recipe
from reranker_distill.stages import HALF_MADE, Stage, full_disk_told, parts_in, parts_of, stage_in


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


def label_reads(recipe: Recipe, teacher: Stage, pairs: Stage) -> dict[str, Any]:
    """Return what the teacher's labels depend on."""
    asked = recipe.labelling
    return {"teacher": teacher.made or teacher.fingerprint, "precision": asked.precision, "pairs": pairs.fingerprint, "shards": asked.shard_size}


def likelihood_reads(recipe: Recipe, catalogue: Mapping[str, Any], pairs: Stage) -> dict[str, Any]:
    """Return what the likelihoods of pairs depend on; ``catalogue`` is what tells the products."""
    asked = recipe.likelihood.model_dump(exclude={"weight", "licence"})
    own = {"likelihood": asked, **files_of(recipe.likelihood.model), **catalogue}
    return {**own, "pairs": pairs.fingerprint, "shards": recipe.labelling.shard_size}


def known_labels(runs: Sequence[Path], stage: str, reads: Mapping[str, Any]) -> Known:
    """Return what a stage of labels, by its name, found in those runs about whatever pairs, where it read the same otherwise, finished or not."""
    wanted = _beside_pairs(parts_of(reads))
    known: dict[tuple[str, str], tuple[float, ...]] = {}
    for folder in (run / f"{stage}{state}" for run in runs for state in (HALF_MADE, "")):
        if _beside_pairs(parts_in(folder)) != wanted:
            continue
        for shard in sorted(folder.glob("labels-*.parquet")):
            with suppress(OSError, ValueError, KeyError, TypeError):  # cut short by a power cut, or gone, where that run is at work
                known |= {(pair.query, pair.product_id): pair.distribution for pair in read_labelled([shard])}
    return known


def _beside_pairs(parts: Mapping[str, str]) -> dict[str, str]:
    return {name: part for name, part in parts.items() if name not in ("pairs", "shards")}
