"""The student that is chosen as it serves: with the catalogue's vectors computed ahead, each leaning on its neighbours'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from reranker.products import Product
from reranker.reranker import Reranker
from reranker_distill.gate.loaded_variants import LoadedVariant
from reranker_distill.recipe import Vectors
from reranker_distill.student_variants import Progress

CATALOGUE_VECTORS = "vectors"
"""Where the gate, and then the run, keeps the catalogue's vectors for ``reranker serve --vectors``."""


def with_neighbours(variant: str) -> str:
    """Return the name of the ranking by a variant's student with vectors that lean on their neighbours'."""
    return f"{variant}_with_neighbours"


def compute_ahead(
    chosen: LoadedVariant, variants: Sequence[LoadedVariant], products: Mapping[str, Product], settings: Vectors, folder: Path, progress: Progress
) -> dict[str, Reranker]:
    """Compute the chosen student's vectors of the whole catalogue into ``folder``; return, by ranking, the students that look theirs up there.

    Those are the chosen one and the variants that share its vectors; none where it keeps no vectors, or where they lean on nothing.
    Nothing is computed where the settings say so.
    """
    if not settings.ahead or not chosen.chosen.keeps_vectors:
        return {}
    with progress("the catalogue's vectors", len(products)) as advance:
        chosen.chosen.store_vectors(folder, products.values(), on_products=advance)
    if settings.neighbours == 1:
        return {}
    sharing = [variant for variant in variants if variant.chosen.keeps_vectors and variant.chosen.vector_space == chosen.chosen.vector_space]
    for variant in sharing:
        variant.chosen.use_vectors(folder)
    return {with_neighbours(variant.name): variant.chosen for variant in sharing}
