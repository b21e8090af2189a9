"""What a run may take from runs before it: all that no judgment has a part in, so that a fold more costs only what is its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distill.finished_run import LIKELIHOOD, PAIRS, VECTORS
from distill.labelling import Labeller
from distill.pairs import relevance_in
from distill.recipe import Recipe
from distill.stages import fingerprint_of, stage_in
from reranker.errors import RecipeError
from reranker.folders import whole_folder
from reranker.products import Product


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


def take_over(runs: Sequence[Path], folder: Path) -> None:
    """Copy from the first run that has them the catalogue's vectors and unpacked checkpoints, as far as ``folder`` has none.

    Vectors of another catalogue, template or embedder do no harm: their stage tells them apart and makes its own.
    """
    for name in (VECTORS, "pretrained"):
        source = next((run / name for run in runs if (run / name).is_dir()), None)
        if source and not (folder / name).exists():
            with whole_folder(folder / name) as copy:
                shutil.copytree(source, copy, dirs_exist_ok=True)


def likelihood_reads(recipe: Recipe, pairs: str) -> dict[str, Any]:
    """Return what the likelihoods of pairs depend on, ``pairs`` being the fingerprint of their stage."""
    asked = recipe.likelihood.model_dump(exclude={"weight", "licence"})
    return {"likelihood": asked, "template": recipe.template.model_dump(), "pairs": pairs, "labelling": recipe.labelling.shard_size}


def known_likelihoods(runs: Sequence[Path], recipe: Recipe, vectors: str) -> dict[tuple[str, str], float]:
    """Return the likelihood of each (query, product id) that a run has asked the recipe's language model for, about these products.

    Args:
        vectors: the fingerprint of this run's vectors: a run with the same has the same products, rendered the same.
    """
    known: dict[tuple[str, str], float] = {}
    for run in runs:
        its_vectors, its_pairs, its_likelihood = (stage_in(run / name) for name in (VECTORS, PAIRS, LIKELIHOOD))
        if not (its_vectors and its_pairs and its_likelihood) or its_vectors.fingerprint != vectors:
            continue
        if its_likelihood.fingerprint == fingerprint_of(likelihood_reads(recipe, its_pairs.fingerprint)):
            known |= relevance_in(run / LIKELIHOOD)
    return known


class AskedBefore:
    """A labeller that is asked only for pairs whose probability of the second of two classes is not known yet."""

    def __init__(self, labeller: Labeller, known: Mapping[tuple[str, str], float]) -> None:
        self._labeller = labeller
        self._known = known

    def distributions(self, pairs: Sequence[tuple[str, Product]], *, tokens_per_batch: int, on_pairs: Callable[[int], None] | None = None) -> np.ndarray:
        """Return [1 - p, p] for each (query, product) pair: float32 (n, 2)."""
        p = np.array([self._known.get((query, str(product["id"])), np.nan) for query, product in pairs], dtype=np.float32)
        out = np.stack([1 - p, p], axis=1)
        missing = [i for i in range(len(pairs)) if np.isnan(p[i])]
        if on_pairs and len(missing) < len(pairs):
            on_pairs(len(pairs) - len(missing))
        if missing:
            out[missing] = self._labeller.distributions([pairs[i] for i in missing], tokens_per_batch=tokens_per_batch, on_pairs=on_pairs)
        return out
