"""The stage that chooses the pairs to label, and builds the index that finds them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reranker.bundle import sha256
from reranker.embedded import EmbeddedFirstStage, build_index
from reranker.errors import RecipeError
from reranker_distill.augmentation import augment, read_query_log
from reranker_distill.augmentation.augment import MISSPELT_SHARE
from reranker_distill.pairs import Pair, read_pairs, write_rows
from reranker_distill.recipe import Augmentation
from reranker_distill.splits import Split
from reranker_distill.stages.stage import PAIRS, Stage, Workspace
from reranker_distill.stages.vectors import VectorsStage

_FILE = "pairs.parquet"
_INDEX = "index"


class PairsStage(Stage):
    """Chooses the pairs: judged ones for training, and unlabelled ones from the augmentation."""

    name = PAIRS

    def __init__(self, workspace: Workspace, settings: Augmentation, split: Split, query_log: Path | None, vectors: VectorsStage | None) -> None:
        self._workspace, self._settings, self._split, self._query_log, self._vectors = workspace, settings, split, query_log, vectors

    def reads(self) -> Mapping[str, Any]:
        return {
            **self._workspace.data,
            "training_judgments": len(self._split.train),  # 0 where all of them are held out
            "augmentation": self._settings.model_dump(),
            "log": sha256(self._query_log) if self._query_log else None,
            "vectors": self._vectors.result.fingerprint if self._vectors else None,
        }

    def run(self, folder: Path) -> dict[str, Any]:
        workspace, settings, split = self._workspace, self._settings, self._split
        build_index(folder / _INDEX, workspace.products.values())
        log = read_query_log(self._query_log) if self._query_log else []
        wanted = settings.catalogue_queries + (settings.log_queries if log else 0)
        expected = wanted + round(MISSPELT_SHARE * (wanted + len({j.query for j in split.train})))
        notes: dict[str, Any] = {}
        with workspace.progress("choosing queries", expected) as advance:
            pairs = augment(
                judged=split.train,
                held_out=split.held_out,
                query_log=log,
                products=workspace.products,
                first_stage=EmbeddedFirstStage(folder / _INDEX),
                settings=settings,
                seed=workspace.seed,
                nearest=self._vectors.load() if self._vectors else None,
                on_query=lambda: advance(1),
                report=notes,
            )
        if not any(count > 1 for count in Counter(pair.query for pair in pairs).values()):
            raise RecipeError(
                f"None of up to {wanted:,} queries finds two products of the catalogue: there are no margins to learn.",
                hint="Does the query log belong to the catalogue? Give judgments, or raise augmentation.catalogue_queries.",
            )
        write_rows(folder / _FILE, pairs)
        missing = notes["queries_without_hits"]
        if missing["number"]:
            workspace.say(f"[yellow]{missing['number']:,} queries find nothing in the first stage: {', '.join(missing['first'][:5])} …[/]")
        return {
            "pairs": len(pairs),
            "pairs_by_source": dict(Counter(pair.source.split("/")[0] for pair in pairs)),
            "pairs_by_product_source": dict(Counter(pair.source.split("/")[1].rstrip("0123456789 ") for pair in pairs)),
            "queries_by_source": dict(Counter(source for _, source in {(pair.query, pair.source.split("/")[0]) for pair in pairs})),
            **notes,
        }

    def load(self) -> list[Pair]:
        """Return the pairs."""
        return read_pairs(self.result.folder / _FILE)

    def first_stage(self) -> EmbeddedFirstStage:
        """Return the BM25 search over the catalogue."""
        return EmbeddedFirstStage(self.result.folder / _INDEX)
