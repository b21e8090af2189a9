"""The stages of a run, in order. To add one, write a file here and put it into the list."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reranker_distill.augmentation import query_texts, read_query_log
from reranker_distill.distributed import DistributedContext
from reranker_distill.gate.variant_bundles import Variant
from reranker_distill.inputs import Inputs
from reranker_distill.recipe import Recipe
from reranker_distill.splits import HeldOutGuard
from reranker_distill.stages.export import ExportStage
from reranker_distill.stages.fusion import FusionStage
from reranker_distill.stages.gate import GateStage
from reranker_distill.stages.labels import LabelsStage, LikelihoodStage
from reranker_distill.stages.pairs import PairsStage
from reranker_distill.stages.stage import Stage, Workspace
from reranker_distill.stages.student import QueryEncoderStage, StudentStage
from reranker_distill.stages.teacher import TeacherStage
from reranker_distill.stages.vectors import VectorsStage

__all__ = ["Stage", "Workspace", "build_stages"]


def build_stages(
    recipe: Recipe,
    inputs: Inputs,
    workspace: Workspace,
    *,
    distributed: DistributedContext,
    ray: str | None,
    reuse: Sequence[Path],
) -> list[Stage]:
    """Return a recipe's stages, each after those it reads.

    Args:
        ray: address of the Ray cluster that labels, if any.
        reuse: runs whose labels are reused.
    """
    teacher = None if recipe.embedder.alone else TeacherStage(workspace, recipe.teacher, inputs.split.train, distributed)
    vectors = VectorsStage(workspace, recipe.embedder.model) if recipe.uses_embedder else None
    pairs = PairsStage(workspace, recipe.augmentation, inputs.split, inputs.query_log, vectors)
    labels = LabelsStage(workspace, teacher, pairs, ray, reuse) if teacher else None
    likelihoods = LikelihoodStage(workspace, recipe.likelihood, pairs, ray, reuse) if recipe.likelihood.labels else None
    fusion = FusionStage(workspace, recipe.embedder, recipe.likelihood, pairs, vectors, labels, likelihoods) if vectors and recipe.embedder.labels else None
    final_labels = fusion or labels
    assert final_labels is not None  # without a teacher, the embedder labels
    variants = _variants(recipe, inputs, workspace, final_labels)
    gate = GateStage(workspace, recipe.gate, recipe.provenance(), inputs.split, pairs, final_labels, teacher, variants)
    trainings = [stage for variant in variants for stage in (variant.student, variant.export)]
    stages = [teacher, vectors, pairs, labels, likelihoods, fusion, *trainings, gate]
    return [stage for stage in stages if stage is not None]


def _variants(recipe: Recipe, inputs: Inputs, workspace: Workspace, labels: Stage) -> list[Variant]:
    """Return the stages of each student."""

    def queries() -> list[str]:
        log = read_query_log(inputs.query_log) if inputs.query_log else []
        return query_texts(workspace.products.values(), log, HeldOutGuard.of(inputs.split.held_out), seed=workspace.seed)

    query_encoder_of = {variant.name: variant.query_encoder_of for variant in recipe.variants}
    by_name: dict[str, Variant] = {}
    for name, settings in recipe.students().items():
        products = by_name[bi_encoder] if (bi_encoder := query_encoder_of.get(name)) else None
        student = QueryEncoderStage(workspace, name, settings, products.student, queries) if products else StudentStage(workspace, name, settings, labels)
        export = ExportStage(workspace, name, settings, student, labels, products.export if products else None)
        by_name[name] = Variant(name, settings, student, export, products)
    return list(by_name.values())
